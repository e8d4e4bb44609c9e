"""One run: faults at moments drawn from a seed, one after another, each until all is well again."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple

from tests.asynchronous import until
from tests.faults.kind import Kind
from tests.faults.probes import Done, Observer, Probe
from tests.faults.product import Product
from tests.faults.watch import LOOK_EVERY_S, Watch

PEACE_S: Final = (0.3, 2.0)
"""Between so long and so long nothing happens between two faults."""

WAIT_S_MAX: Final = 3.0
"""What a fault does not hit waits no longer."""

RECOVERY_S_MAX: Final = 10.0
"""After so long all is well again."""

BEHIND: Final = "READ_MODEL_BEHIND"
"""What a read is told that has waited in vain for what its client has seen."""

GIVEN_UP_AFTER_S: Final = 60.0
"""What is not well by then will not be."""


class Fault(NamedTuple):
    """What was done, and how it went."""

    kind: str
    detail: str
    hit: frozenset[int]
    began: float
    """By a monotonic clock, as all times here."""
    ended: float
    recovered: float
    """When all was well again."""

    @property
    def recovery_s(self) -> float:
        """So long it took after the end of the fault."""
        return self.recovered - self.ended

    @property
    def in_words(self) -> str:
        """Tell it in a line."""
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


class NotRecovered(Exception):
    """The product did not recover by itself."""


class Run:
    """Does things to a product, and remembers how it went."""

    def __init__(self, product: Product, seed: object, say: Callable[[str], None]) -> None:
        self.faults: list[Fault] = []
        self.probes = [Probe(number, url) for number, url in enumerate(product.urls, start=1)]
        self._product = product
        self._watch = Watch(product.connect, kafka=product.broker is not None)
        self._observers: Sequence[Observer] = (*self.probes, self._watch)
        self._seed = seed
        self._say = say

    @asynccontextmanager
    async def probing(self) -> AsyncIterator[None]:
        """Have the probes ask for as long as the context lasts; then they finish."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for observer in self._observers:
                tasks.create_task(observer.run(stop))
            await self._until_well(time.monotonic())
            try:
                yield
            finally:
                stop.set()

    async def strike_until(self, deadline: float, kinds: Mapping[str, Kind]) -> None:
        """Draw faults until then; what has begun is finished. Raises NotRecovered."""
        for name, chance in self._drawn(kinds):
            await asyncio.sleep(chance.uniform(*PEACE_S))
            if time.monotonic() > deadline:
                return
            await self.strike(name, kinds[name], chance)

    async def strike(self, name: str, kind: Kind, chance: random.Random) -> Fault:
        """Let one fault happen, and wait until all is well again. Raises NotRecovered."""
        lasts_s = chance.uniform(*kind.lasts_s)
        began = time.monotonic()
        async with kind.strike(self._product, chance) as struck:
            if lasts_s:
                await asyncio.sleep(lasts_s)
        ended = time.monotonic()
        try:
            async with asyncio.timeout(GIVEN_UP_AFTER_S):
                await self._until_well(ended)
        except TimeoutError:
            raise NotRecovered(f"{name} ({struck.detail}): not well after {GIVEN_UP_AFTER_S:g} s") from None
        fault = Fault(name, struck.detail, struck.hit, began, ended, time.monotonic())
        self.faults.append(fault)
        self._say(f"{fault.in_words}: well again after {fault.recovery_s:.1f} s")
        return fault

    @property
    def seen(self) -> Sequence[Done]:
        """All that was waited for."""
        return [done for observer in self._observers for done in observer.done]

    def longest_wait(self, fault: Fault) -> Done | None:
        """Return what took longest of what the fault did not hit."""
        return max(self._of_others(fault), key=lambda done: done.seconds, default=None)

    def told_to_wait(self, fault: Fault) -> int:
        """How many reads of others were not served at once, but told to try again."""
        return sum(1 for done in self._of_others(fault) if BEHIND in done.refusals)

    def _of_others(self, fault: Fault) -> Sequence[Done]:
        return [
            done
            for done in self.seen
            if done.api not in fault.hit and done.began < fault.recovered and done.ended > fault.began
        ]

    def _drawn(self, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, random.Random]]:
        """Draw every kind once before any comes again, deaths first; each has chances of its own."""
        order = random.Random(f"{self._seed}/order")
        number = 0
        while True:
            names = [name for name, kind in kinds.items() if kind.possible(self._product)]
            for name in sorted(order.sample(names, len(names)), key=lambda name: not kinds[name].is_death):
                number += 1
                yield name, random.Random(f"{self._seed}/{number}/{name}")

    async def _until_well(self, since: float) -> None:
        """Wait until all run, all workers work, and each API process has done what was wanted since then."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(until(lambda: self._product.is_whole, 2 * GIVEN_UP_AFTER_S, LOOK_EVERY_S))
            tasks.create_task(self._watch.until_at_work(since))
            for probe in self.probes:
                tasks.create_task(_until_served(probe, since))


async def _until_served(probe: Probe, since: float) -> None:
    """Wait for a command and a read that were begun since then."""
    for kind in ("command", "read"):
        await until(partial(_has_done, probe, kind, since), 2 * GIVEN_UP_AFTER_S)


def _has_done(probe: Probe, kind: str, since: float) -> bool:
    return any(done.kind == kind and done.began >= since for done in probe.done[-4:])


def by_kind(faults: Sequence[Fault]) -> Mapping[str, Sequence[Fault]]:
    """Sort the faults, in the order in which their kinds came first."""
    sorted_ = defaultdict(list)
    for fault in faults:
        sorted_[fault.kind].append(fault)
    return sorted_
