"""Whatever stands in a log, the audit comes to its end and says what is wrong."""

from copy import copy
from random import Random
from typing import Any

import msgspec
import pytest

from audit.read_models.comparison import READ_MODELS, Digests, Expected, Reached
from audit.replay import Replay
from audit.report import report
from tests.audit.log_builder import StoredEvent, StoredRow
from tests.audit.sales import a_sale_of_all_kinds, a_strict_sale

NONSENSE: list[Any] = [
    None,
    -1,
    0,
    10**6,
    2**53,
    10**30,
    1.5,
    True,
    "",
    "x",
    "\x00",
    "9" * 5_000,
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2026-03-01T09:00:00",
    "GALA",
    "seat/GALA/2026-05-01T19:30/nowhere",
    "seat/GALA/2026-05-01T19:30/" + "9" * 5_000,
    "wallet/",
    "00000000-0000-4000-8000-000000000000",
    [],
    [1, 1],
    [10**15],
    {},
    {"2026-05-01T19:30": 10**15},
]


def end(rows: list[StoredRow]) -> bytes:
    """Replay, expect and report as an audit does; return the report as JSON."""
    expected = Expected(dict.fromkeys(READ_MODELS, Reached((1 << 62,))), Digests().emit)
    replay = Replay(on_event=expected.apply)
    replay.apply_all(rows)
    replay.close()
    expected.finish()
    return msgspec.json.encode(report(replay, None, None))


@pytest.mark.parametrize("seed", range(4))
def test_a1_an_event_may_say_anything(seed: int) -> None:
    random = Random(seed)
    for events in (a_sale_of_all_kinds().events, a_strict_sale().events):
        rows = [event.row() for event in events]
        for index, event in enumerate(events):
            spoilt = _spoilt(event, random)
            assert end([*rows[:index], spoilt, *rows[index + 1 :]])


@pytest.mark.parametrize("seed", range(40))
def test_a1_a_whole_log_may_be_nonsense(seed: int) -> None:
    random = Random(seed)
    events = [*a_sale_of_all_kinds().events, *a_strict_sale().events]
    random.shuffle(events)
    rows = [_spoilt(event, random) if random.random() < 0.3 else event.row() for event in events]
    assert end(rows)


def _spoilt(event: StoredEvent, random: Random) -> StoredRow:
    """The event, with nonsense in one place of what is stored."""
    position, id_, version, topic, state = event.row()
    stored = msgspec.json.decode(state)
    places = [stored] + [stored["payload"]] * (len(stored["payload"]) > 0)
    place = random.choice(places)
    member = random.choice(list(place))
    place[member] = copy(random.choice(NONSENSE))
    return position, id_, version, topic, msgspec.json.encode(stored)
