"""Finding what stands at a path: by its segments, one after the other.

Starlette tries a pattern for each path there is, and FastAPI some more; that cost more than to answer.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

PARAMETER = re.compile(r"{(?P<name>\w+)(?P<is_rest>:path)?}")
"""A segment that may be anything or, with `:path`, all that is left."""


class Step:
    """Where all paths are that begin alike: the next segment has one of these names, or is a parameter."""

    __slots__ = ("app", "by_name", "parameter")

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        """What stands where a path ends here."""
        self.by_name: dict[str, Step] = {}
        self.parameter: Parameter | None = None


class Parameter(NamedTuple):
    """What the next segment is called, whatever it is, and where it leads."""

    name: str
    is_rest: bool
    """Whether it is all that is left of the path."""
    step: Step

    @property
    def segment(self) -> str:
        """How it stands in a path."""
        return f"{{{self.name}:path}}" if self.is_rest else f"{{{self.name}}}"


class Router:
    """Passes each request on to the application at its path, with what the path says as `path_params`."""

    def __init__(self, apps: Mapping[str, ASGIApp], otherwise: ASGIApp) -> None:
        self._first = Step()
        self._otherwise = otherwise
        for path, app in apps.items():
            step = self._first
            for segment in path.split("/"):
                step = _next(step, segment)
            step.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        path_params: dict[str, str] = {}
        app = self._find(scope["path"], path_params)
        scope["path_params"] = path_params
        await (app or self._otherwise)(scope, receive, send)

    def _find(self, path: str, path_params: dict[str, str]) -> ASGIApp | None:
        step = self._first
        segments = path.split("/")
        for place, segment in enumerate(segments):
            if (parameter := step.parameter) is None:
                if (named := step.by_name.get(segment)) is None:
                    return None
                step = named
            elif parameter.is_rest:
                path_params[parameter.name] = rest = "/".join(segments[place:])
                return None if "\n" in rest else parameter.step.app
            elif segment:
                path_params[parameter.name] = segment
                step = parameter.step
            else:
                return None
        return step.app


def _next(step: Step, segment: str) -> Step:
    """Where this segment leads. Raises ValueError where several ways would have to be tried."""
    said = PARAMETER.fullmatch(segment)
    if said is not None and step.parameter is None:
        step.parameter = Parameter(said["name"], said["is_rest"] is not None, Step())
    parameter = step.parameter
    if parameter is None:
        return step.by_name.setdefault(segment, Step())
    if said is None or step.by_name or segment != parameter.segment:
        raise ValueError(f"{segment} would have to be tried beside {parameter.segment}")
    return parameter.step
