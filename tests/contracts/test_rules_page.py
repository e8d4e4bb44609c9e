"""docs/concepts/rules.md says of events, policy and stream ids what the code says."""

import json
import re
from typing import Final

import msgspec

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.policy import Policy
from aggregates.registry import EVENT_TYPES
from aggregates.stream import NAMESPACE, stream_id
from aggregates.wallet import ChargeLimits
from tests.contracts.markdown import DOCS, table_rows

PAGE: Final = "concepts/rules.md"
TEXT: Final = (DOCS / PAGE).read_text()


def test_the_table_of_events_has_every_topic_with_its_fields() -> None:
    cells = " · ".join(events for _, events in table_rows(PAGE, "stream", "events: topic {payload}"))
    listed = {
        topic: [name for name in payload.split(", ") if name]
        for topic, payload in re.findall(r"`(\w+\.\w+)`(?: \{([^}]*)\})?", cells)
    }
    assert listed == {topic: list(event.__struct_fields__) for topic, event in EVENT_TYPES.items()}


def test_the_table_of_events_has_every_kind_of_stream() -> None:
    kinds = [
        stream.strip("`").split("/")[0] for stream, _ in table_rows(PAGE, "stream", "events: topic {payload}")
    ]
    assert kinds == [
        module.kind
        for module in (
            concert.CONCERT,
            seat.SEAT,
            reservation.RESERVATION,
            wallet.WALLET,
            payment.PAYMENT,
            queue.QUEUE,
            token.TOKEN,
        )
    ]


def test_the_table_of_the_policy_has_every_setting_with_its_default() -> None:
    listed = {
        field.strip("`"): default.strip("`").replace(",", "")
        for field, default, _ in table_rows(PAGE, "field", "default", "meaning")
    }
    defaults = msgspec.to_builtins(Policy())
    assert listed == {
        field: default if isinstance(default, str) else json.dumps(default)
        for field, default in defaults.items()
    }
    assert list(listed) == list(defaults)


def test_the_limits_of_charges_are_those_of_the_code() -> None:
    limits = ChargeLimits()
    assert f"smallest and largest charge {limits.smallest:,} and {limits.largest:,} won" in TEXT
    assert f"largest balance {limits.balance_max:,} won" in TEXT


def test_anyone_can_compute_a_streams_id_as_the_page_says() -> None:
    assert f"under the namespace `{NAMESPACE}`" in TEXT
    assert f'uuid5(UUID("{NAMESPACE}"), "concert/IU-2026")' in TEXT
    assert f"give `{stream_id('concert/IU-2026')}`" in TEXT
