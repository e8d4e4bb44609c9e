"""A few faults in short, under a small load; `make faults` has all of them."""

import random
from pathlib import Path

import pytest

from tests.asynchronous import asynchronous
from tests.faults import verdict
from tests.faults.kinds import KINDS
from tests.faults.product import Product
from tests.faults.run import Run
from tests.histories import Recorder, Target, run_load

pytestmark = pytest.mark.xdist_group("up")

SEED = 5

TIMEOUT_S = 180
"""A sixth of it on two idle cores or less: eight processes start, and some of them again."""

BLOWS = ("API killed", "acknowledgement lost", "PostgreSQL killed")


@pytest.mark.timeout(TIMEOUT_S)
@asynchronous
async def test_a1_i1_what_was_acknowledged_outlives_whatever_dies(postgres_folder: Path) -> None:
    async with Product(postgres_folder) as product:
        run = Run(product, SEED, print)
        recorder = Recorder()
        async with run.probing():
            await run_load(
                Target(product.urls, product.admin_key), seed=SEED, seconds=0.5, recorder=recorder, buyers=4
            )
            for kind in BLOWS:
                await run.strike(kind, KINDS[kind], random.Random(SEED))
        assert list(verdict.slow(run, product.started_in_s)) == []
        assert await verdict.unbalanced(run.probes) == []
        assert list(verdict.inexplicable(recorder.history, product.dsn, run.probes)) == []
        assert list(verdict.unsound(product)) == []
