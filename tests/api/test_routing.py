"""Paths lead where patterns would lead them: what Starlette's own routes match, with the same parameters."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import OPERATIONS
from api.routing import Router

PATHS: Final = sorted({operation.path for operation in OPERATIONS})
NAMES: Final = sorted({segment for path in PATHS for segment in path.split("/") if "{" not in segment})

segments = st.sampled_from([*NAMES, "A1", "2ca587d1", "a\n", "\n", "é", "%2F", " ", "queue"])
made_up_paths = st.lists(segments, max_size=9).map("/".join)


@st.composite
def nearly_good_paths(draw: st.DrawFn) -> str:
    """Draw a path that there is, with other segments here and there, and more or fewer of them."""
    path = draw(st.sampled_from(PATHS)).split("/")
    filled = [draw(segments) if "{" in segment else segment for segment in path]
    if draw(st.booleans()):
        filled[draw(st.integers(0, len(filled) - 1))] = draw(segments)
    return "/".join(filled[: draw(st.integers(1, len(filled)))] + draw(st.lists(segments, max_size=2)))


class Found:
    """What stands at a path: it remembers what it was asked."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        scope["found"] = self.path, scope["path_params"]


NOWHERE: Final = Found("nowhere")


async def ask(app: ASGIApp, path: str) -> Any:
    """Ask for a path, and return what was found there and with which parameters."""
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path}
    unused: Any = None
    await app(scope, unused, unused)
    return scope["found"]


def by_patterns(paths: Sequence[str], path: str) -> Any:
    """What Starlette finds; the end of its patterns passes over a last line feed, which endpoints refuse."""
    for each in paths:
        match, child_scope = Route(each, NOWHERE).matches({"type": "http", "method": "GET", "path": path})
        if match is Match.FULL:
            return each, child_scope["path_params"]
    return "nowhere", {}


@given(made_up_paths | nearly_good_paths())
def test_a_path_leads_where_patterns_would_lead_it(path: str) -> None:
    if path.endswith("\n"):
        return
    found, path_params = asyncio.run(ask(Router({each: Found(each) for each in PATHS}, NOWHERE), path))
    expected = by_patterns(PATHS, path)
    assert (found, path_params if found != "nowhere" else {}) == expected


@pytest.mark.parametrize(
    "paths",
    [
        ["/a/b", "/a/{name}"],
        ["/a/{name}", "/a/b"],
        ["/a/{one}/x", "/a/{other}/y"],
        ["/{a}/x", "/{a:path}"],
        ["/a/{b:path}", "/a/b"],
    ],
)
def test_no_two_paths_are_tried_one_after_the_other(paths: Sequence[str]) -> None:
    with pytest.raises(ValueError, match="beside"):
        Router(dict.fromkeys(paths, NOWHERE), NOWHERE)
