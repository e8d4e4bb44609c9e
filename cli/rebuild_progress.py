"""How far a rebuild has come, for a person: a bar on a terminal, else a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from projections.rebuild import Step, Tell

LINE_EVERY_S: Final = 5.0
"""Without a terminal: often enough to see that it goes on, rarely enough for a log."""


@contextmanager
def progress(console: Console) -> Iterator[Tell]:
    """Tell on this console what a rebuild does; a bar is gone when it has ended."""
    if not console.is_terminal:
        yield _Lines(lambda line: console.print(line, markup=False))
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:,.0f} events/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar)


class _Clock:
    """Measures each step from its beginning."""

    def __init__(self) -> None:
        self._step: tuple[Step, str] | None = None
        self._began_at = 0.0
        self._began_with = 0

    def begins(self, step: Step, what: str, done: int) -> bool:
        """Whether this is another step than the last one."""
        if (step, what) == self._step:
            return False
        self._step, self._began_at, self._began_with = (step, what), time.monotonic(), done
        return True

    def speed(self, done: int) -> float:
        """Events a second since the step began."""
        return (done - self._began_with) / max(time.monotonic() - self._began_at, 1e-3)


class _Bar:
    """A `Tell` that moves one bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, speed=0.0)
        self._clock = _Clock()

    def __call__(self, step: Step, what: str, done: int = 0, total: int = 0, /) -> None:
        if self._clock.begins(step, what, done):
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task(f"{step} {what}", total=None, speed=0.0)
        self._bar.update(self._task, completed=done, total=total or None, speed=self._clock.speed(done))


class _Lines:
    """A `Tell` that prints a line when something else begins, and now and then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._clock = _Clock()
        self._said_at = 0.0

    def __call__(self, step: Step, what: str, done: int = 0, total: int = 0, /) -> None:
        now = time.monotonic()
        if self._clock.begins(step, what, done):
            self._say(f"{step} {what}")
        elif now < self._said_at + LINE_EVERY_S:
            return
        else:
            speed = self._clock.speed(done)
            left = f", {(total - done) / speed:,.0f} s left" if speed else ""
            self._say(f"{step} {what}: {done:,} of {total:,} events, {speed:,.0f} a second{left}")
        self._said_at = now
