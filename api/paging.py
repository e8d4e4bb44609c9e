"""Cutting long lists into pages: `?limit=` and `?after=`."""

from collections.abc import Callable
from typing import Any, TypeVar

from aggregates.errors import ValidationFailed
from api.call import Reply, json_reply
from api.views import Page
from projections.reading import Found
from projections.reading import Page as FoundPage

T = TypeVar("T")
C = TypeVar("C")


PLACE_MAX = 2**63 - 1
"""The largest position or version that the log can hold."""


def place(after: str | None) -> int:
    """Read the position or version to go on after, 0 for the beginning. Raises ValidationFailed."""
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit() and int(after) <= PLACE_MAX):
        raise ValidationFailed("send the `next` of an earlier page", "after")
    return int(after)


def page_reply(found: Found[FoundPage[T, C]], view: Callable[[T], Any]) -> Reply:
    """Answer with a page."""
    page = found.value
    items = [view(item) for item in page.items]
    following = None if page.next is None else str(page.next)
    return json_reply(200, Page(items, following), found.position)
