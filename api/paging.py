"""Cutting long lists into pages: `?limit=` and `?after=`."""

from collections.abc import Callable
from typing import Any, TypeVar

from api.call import Reply, json_reply
from api.views import Page
from projections.reading import Found
from projections.reading import Page as FoundPage

T = TypeVar("T")
C = TypeVar("C")


def place(after: str | None) -> int:
    """The position or version to go on after, 0 for the beginning."""
    return 0 if after is None else int(after)


def page_reply(found: Found[FoundPage[T, C]], view: Callable[[T], Any]) -> Reply:
    """Answer with a page."""
    page = found.value
    items = [view(item) for item in page.items]
    following = None if page.next is None else str(page.next)
    return json_reply(200, Page(items, following), found.position)
