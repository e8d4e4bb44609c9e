"""The names of things, as types, so that one kind of id is never taken for another."""

from datetime import date
from typing import NewType
from uuid import UUID

UserId = NewType("UserId", UUID)
TokenId = NewType("TokenId", UUID)
ReservationId = NewType("ReservationId", UUID)
PaymentId = NewType("PaymentId", UUID)

ConcertCode = NewType("ConcertCode", str)
"""What a concert is known by: `^[A-Z0-9][A-Z0-9-]{1,31}$`."""

StartTime = NewType("StartTime", str)
"""The venue's wall-clock time at which a performance starts, `HH:MM`."""

PerformanceName = NewType("PerformanceName", str)
"""A performance within its concert, `YYYY-MM-DDTHH:MM`."""


def performance_name(day: date, start_time: StartTime) -> PerformanceName:
    """Name the showing on `day` at `start_time`."""
    return PerformanceName(f"{day.isoformat()}T{start_time}")
