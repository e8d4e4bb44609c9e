"""Deciding a batch: its commands one after another on one working copy. Pure, and so repeatable."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from aggregates.errors import DomainError
from aggregates.stream import Stream
from commands.command import Command
from commands.errors import IdempotencyKeyReused
from commands.ports import KeyOfCaller, Known, NewOutcome, Reading, RecordedOutcome, Writes
from commands.table import HANDLERS
from commands.unit_of_work import Refused, ServiceRules, StreamsNeeded, UnitOfWork

BATCH_EVENTS_MAX = 2_000
"""A batch that has recorded so many events takes no further command; one append stays short."""


class Keyed(NamedTuple):
    """What a command with an idempotency key brings along."""

    key: KeyOfCaller
    request: bytes
    """A fingerprint of the request: the same key with another one is refused (rule I2)."""
    reply: Callable[[Any], bytes]
    """Makes of a result or a DomainError the answer that a repeat gets to the letter (rule I1)."""


class Submission(NamedTuple):
    """A command on its way."""

    command: Command
    command_id: UUID
    causation_id: UUID
    keyed: Keyed | None = None


class Decision(NamedTuple):
    """What became of one command."""

    outcome: Any
    """Its result, the DomainError that refused it, or whatever else its handler raised: a defect."""
    recorded: RecordedOutcome | None = None
    """The answer that was on record for its key: the command was not carried out again."""
    reply: bytes | None = None
    """The answer that goes on record for its key now."""


class Decided(NamedTuple):
    """What a batch comes to: one decision for each command that it took, and what is to be recorded."""

    decisions: Sequence[Decision]
    writes: Writes
    states: dict[str, Known]


class MoreNeeded(Exception):
    """The batch cannot be decided before these streams are read too."""

    def __init__(self, streams: Sequence[Stream[Any]]) -> None:
        super().__init__([stream.name for stream in streams])
        self.streams = streams


def decide(
    submissions: Sequence[Submission], reading: Reading, rules: ServiceRules, batch_id: UUID
) -> Decided:
    """Decide the commands in their order; the last ones may be left for the next batch.

    Raises MoreNeeded with every stream that a handler missed.
    """
    unit_of_work = UnitOfWork(reading, rules, batch_id)
    outcomes = dict(reading.outcomes)
    new_outcomes: list[NewOutcome] = []
    decisions: list[Decision] = []
    missing: list[Stream[Any]] = []
    for submission in submissions:
        if len(unit_of_work.events) >= BATCH_EVENTS_MAX:
            break
        try:
            decision = _decide_one(submission, unit_of_work, outcomes)
        except StreamsNeeded as needed:
            unit_of_work.take_back()
            missing.append(needed.stream)
            continue
        decisions.append(decision)
        if submission.keyed is not None and decision.reply is not None:
            key, request, _ = submission.keyed
            new_outcomes.append(NewOutcome(key, request, decision.reply, submission.command_id))
            outcomes[key] = RecordedOutcome(request, decision.reply, position=0)
        if submission.command.ends_batch:
            break
    if missing:
        raise MoreNeeded(missing)
    unit_of_work.merge_queues()
    writes = Writes(
        reading.now, unit_of_work.events, new_outcomes, unit_of_work.names, unit_of_work.snapshots()
    )
    return Decided(decisions, writes, dict(unit_of_work.states()))


def _decide_one(
    submission: Submission,
    unit_of_work: UnitOfWork,
    outcomes: dict[KeyOfCaller, RecordedOutcome],
) -> Decision:
    keyed = submission.keyed
    if keyed is not None and (recorded := outcomes.get(keyed.key)) is not None:
        same = recorded.request == keyed.request
        return Decision(None, recorded) if same else Decision(IdempotencyKeyReused())
    unit_of_work.begin(submission.command_id, submission.causation_id)
    try:
        outcome = _carry_out(submission.command, unit_of_work)
        return Decision(outcome, reply=_reply(keyed, outcome))
    except StreamsNeeded:
        raise
    except Exception as defect:  # noqa: BLE001 (one command's must not take down its neighbours)
        unit_of_work.take_back()
        return Decision(defect)


def _carry_out(command: Command, unit_of_work: UnitOfWork) -> Any:
    try:
        outcome = HANDLERS[type(command)].handle(command, unit_of_work)
    except DomainError as refusal:
        unit_of_work.take_back()
        return refusal.with_traceback(None)  # which would keep what it has passed through
    return outcome.error if isinstance(outcome, Refused) else outcome


def _reply(keyed: Keyed | None, outcome: Any) -> bytes | None:
    """I1: the first outcome of a key is recorded, but for refusals that say when to try again."""
    if keyed is None or (isinstance(outcome, DomainError) and outcome.retry_after_s is not None):
        return None
    return keyed.reply(outcome)
