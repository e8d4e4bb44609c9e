"""What came of it, held against what the model foretold: answers field by field, appends event by event."""

from collections.abc import Iterable, Sequence
from itertools import groupby, zip_longest
from typing import Any
from uuid import UUID

from aggregates.errors import DomainError
from aggregates.event import RecordedEvent
from commands.bus import Answer
from tests.properties.model.append import Foretold, as_json
from tests.properties.model.service import Appended, Outcome
from tests.properties.real_service import reply_to


def check_answer(answer: Answer, foretold: Outcome) -> None:
    """The outcome is allowed, or refused for the reason there is; its position is that of its append."""
    assert answer.position == foretold.position, (answer, foretold)
    if foretold.repeats is not None:
        assert answer.outcome is None, "I1: a repeat is not carried out"
    elif foretold.refused is not None:
        _check_refusal(answer.outcome, foretold)
    else:
        _check_results(answer.outcome, foretold.results)


def check_reply(answer: Answer, first: Answer) -> None:
    """I1: a repeat is answered to the letter."""
    assert (answer.outcome, answer.recorded) == (None, reply_to(first.outcome)), (answer, first)


def _check_refusal(outcome: Any, foretold: Outcome) -> None:
    assert foretold.refused is not None
    codes, members = foretold.refused.codes, foretold.refused.members
    assert isinstance(outcome, DomainError), (outcome, codes)
    assert outcome.code in codes, (outcome.code, codes)
    told = {name: outcome.members.get(name) for name in members}
    assert as_json(told) == as_json(members), outcome.code
    assert (outcome.retry_after_s is None) == foretold.recorded, outcome.code


def _check_results(outcome: Any, results: Any) -> None:
    assert not isinstance(outcome, Exception), (outcome, results)
    if isinstance(results, dict):
        told = {name: getattr(outcome, name) for name in results}
        assert told == results
        assert bool(results) or outcome is None, outcome
    else:
        assert outcome == results


def check_appends(events: Sequence[RecordedEvent], foretold: Sequence[Appended]) -> None:
    """The same appends at the same instants; in each of them every stream has the same events."""
    recorded = [list(append) for _, append in groupby(events, key=lambda event: event.recorded_at)]
    assert [append[0].recorded_at for append in recorded] == [append.recorded_at for append in foretold]
    for real, expected in zip(recorded, foretold, strict=True):
        queues = [event.stream.startswith("queue/") for event in real]
        assert queues == sorted(queues), "merged events stand last"
        for told, foretold_event in zip_longest(
            _by_stream(_told(real)), _by_stream(_numbered(expected.events))
        ):
            assert told == foretold_event


def _by_stream(events: Iterable[Foretold]) -> Sequence[Foretold]:
    """In the order of each stream; between streams the rules name none."""
    return sorted(events, key=lambda event: event.stream)


def _numbered(events: Sequence[Foretold]) -> Sequence[Foretold]:
    """Count those commands alone that recorded something."""
    commands = sorted({event.asked for event in events if event.asked is not None})
    return [
        event if event.asked is None else event._replace(asked=commands.index(event.asked))
        for event in events
    ]


def _told(events: Sequence[RecordedEvent]) -> Sequence[Foretold]:
    merged = {event.command_id for event in events if event.stream.startswith("queue/")}
    commands: list[UUID] = []
    for event in events:
        if event.command_id not in (*commands, *merged):
            commands.append(event.command_id)
    return [
        Foretold(
            event.stream,
            event.event.topic,
            as_json(event.event),
            event.partition_key,
            None if event.correlation_id == event.command_id else event.correlation_id,
            None if event.command_id in merged else commands.index(event.command_id),
        )
        for event in events
    ]
