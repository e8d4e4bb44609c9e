"""The format of a catalogue file: what the API takes, and dates that lie so many days ahead."""

from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from aggregates.concert import DEFAULT_SEATS, ConcertAnnounced, SeatBlock
from aggregates.ids import ConcertCode
from aggregates.policy import Policy, changed
from api.views import Code, LongText, Text, Time

IN_DAYS_MAX: Final = 3_650
"""Ten years: nothing is put on sale earlier."""

BLOCKS_MAX: Final = 500
"""Sections of a hall; as many as the API takes."""


class CatalogueSeats(SeatBlock, frozen=True, forbid_unknown_fields=True):
    """The seats numbered `first` to `last`, all of one type and one price in won."""


class CataloguePolicy(Policy, frozen=True, forbid_unknown_fields=True):
    """The sale policy. What is left out has its default."""


class DaysAhead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many days after the day, at the venue, on which the concert was first loaded."""

    in_days: Annotated[int, Meta(ge=1, le=IN_DAYS_MAX)]


Plan = Annotated[tuple[CatalogueSeats, ...], Meta(min_length=1, max_length=BLOCKS_MAX)]


class CataloguePerformance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One showing, at the venue's wall-clock time."""

    date: Annotated[date | DaysAhead, Meta(description="2027-05-01, or {in_days: 30}.")]
    start_time: Time
    end_time: Time | None = None
    seats: Annotated[Plan | None, Meta(description="Its plan of seats; left out: the concert's `seats`.")] = (
        None
    )


def day_of(performance: CataloguePerformance, loaded_on: date) -> date:
    """Return a performance's date, for a concert that was first loaded on that day."""
    match performance.date:
        case DaysAhead(in_days=days):
            return loaded_on + timedelta(days=days)
        case day:
            return day


class Sales(StrEnum):
    """Whether the concert is put on sale when it is first loaded."""

    OPEN = "open"
    CLOSED = "closed"


class CatalogueConcert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One concert, with its performances."""

    code: Annotated[Code, Meta(description="What the concert is known by.")]
    title: Text
    venue: Text
    description: LongText = ""
    category: Text = "CONCERT"
    time_zone: Annotated[Text, Meta(description="The venue's, as an IANA name.")] = "Asia/Seoul"
    policy: CataloguePolicy = CataloguePolicy()
    sales: Sales = Sales.CLOSED
    seats: Annotated[
        Plan | None, Meta(description="The plan of seats; left out: 1–50 STANDARD at 100,000 won.")
    ] = None
    performances: tuple[CataloguePerformance, ...] = ()

    def announcement(self) -> ConcertAnnounced:
        """Return it as it is announced. Raises ValidationFailed for a time that cannot be."""
        return ConcertAnnounced(
            ConcertCode(self.code),
            self.title,
            self.description,
            self.category,
            self.venue,
            self.time_zone,
            changed(Policy(), msgspec.to_builtins(self.policy)),
        )

    def seats_of(self, performance: CataloguePerformance) -> tuple[SeatBlock, ...]:
        """Return the plan of seats of one of its performances."""
        for seats in (performance.seats, self.seats):
            if seats is not None:
                return tuple(SeatBlock(block.first, block.last, block.type, block.price) for block in seats)
        return DEFAULT_SEATS


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Concerts, their performances and their seats, as `ticketing catalogue load` takes them."""

    concerts: tuple[CatalogueConcert, ...]


def json_schema() -> dict[str, Any]:
    """Describe the format as a JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ticketing catalogue",
        **msgspec.json.schema(Catalogue),
    }
