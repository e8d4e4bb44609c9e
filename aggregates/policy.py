"""The sale policy: what differs from concert to concert, recorded with it and changeable during the sale."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aggregates.errors import ValidationFailed

SECONDS_MAX = 31_536_000
"""A year: longer than any sale, and short enough that adding it to a date never overflows."""

Count = Annotated[int, Meta(ge=1, le=100_000_000)]
Seconds = Annotated[int, Meta(ge=1, le=SECONDS_MAX)]
Moment = Annotated[datetime, Meta(tz=True)]


class OnInsufficientBalance(StrEnum):
    """What becomes of the hold, and of the token, when a payment fails for want of money (rule P3)."""

    KEEP_HOLD = "keep_hold"
    RELEASE_HOLD = "release_hold"
    RELEASE_HOLD_AND_END_TOKEN = "release_hold_and_end_token"


class Policy(msgspec.Struct, frozen=True):
    """The settings of one sale. A limit binds what is granted under it; what was granted before stays."""

    max_active: Count | None = 100
    """Nobody is let in while so many tokens are active; null for no such limit."""
    admit_per_interval: Count | None = None
    """No span of `admit_interval_s` holds more than so many activations."""
    admit_interval_s: Annotated[int, Meta(ge=1, le=3_600)] = 10
    admit_up_to_seats_left: bool = True
    """Nobody is let in while there are as many active tokens as seats that are not sold."""
    max_waiting: Count = 1_000_000
    """Beyond it no new token is issued. Waiting is last issued − head."""
    active_ttl_s: Seconds = 600
    hold_ttl_s: Seconds = 300
    max_seats_per_user: Annotated[int, Meta(ge=1, le=1_000)] = 4
    """Held and sold, per concert."""
    abandon_waiting_after_s: Annotated[int, Meta(ge=600, le=SECONDS_MAX)] | None = 600
    """Silence after which a waiting token is cancelled; null for never.

    At least 600, because an obedient client may poll every 200 s.
    """
    abandon_active_after_s: Seconds | None = None
    abandon_after_disconnect_s: Annotated[int, Meta(ge=0, le=SECONDS_MAX)] | None = None
    """So long after its last open stream closed a token is cancelled."""
    on_insufficient_balance: OnInsufficientBalance = OnInsufficientBalance.KEEP_HOLD
    charge_while_holding: bool = True
    """False: no wallet charge while a reservation of this concert is open for that user (rule W3)."""
    sales_open_at: Moment | None = None
    sales_close_at: Moment | None = None
    refund_until_s: Annotated[int, Meta(ge=0, le=SECONDS_MAX)] | None = 86_400
    """Refunds are allowed until so long before the performance starts; null for always until it starts."""


def changed(policy: Policy, changes: Mapping[str, Any]) -> Policy:
    """Return `policy` with the fields named in `changes` set to these JSON values.

    Times come back in UTC, as they are recorded. Raises ValidationFailed for a field that a policy does not
    have, or a value that it cannot take.
    """
    unknown = sorted(set(changes) - set(Policy.__struct_fields__))
    if unknown:
        raise ValidationFailed("a sale policy has no such field", unknown[0])
    try:
        changed_policy = msgspec.convert({**msgspec.to_builtins(policy), **changes}, Policy)
    except msgspec.ValidationError as error:
        raise ValidationFailed.of(error) from error
    return _in_utc(changed_policy)


def _in_utc(policy: Policy) -> Policy:
    return msgspec.structs.replace(
        policy,
        sales_open_at=_instant("sales_open_at", policy.sales_open_at),
        sales_close_at=_instant("sales_close_at", policy.sales_close_at),
    )


def _instant(field: str, moment: datetime | None) -> datetime | None:
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError as error:
        raise ValidationFailed("this time is out of range", field) from error
