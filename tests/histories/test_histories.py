"""A short history, played against two API processes; long ones are for `make histories`."""

import asyncio
from pathlib import Path

import pytest

from tests.histories import Recorder, check, event_log, run_load
from tests.histories.record import History
from tests.histories.service import running_processes

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(180)]
"""Eight processes start; on a machine that is busy with other tests they take their time."""

SECONDS = 4.0
SEED = 4


def test_a1_a_short_history_of_many_clients_is_explained_by_the_rules(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder, running_processes(dsn, tmp_path) as target:
        asyncio.run(run_load(target, seed=SEED, seconds=SECONDS, recorder=recorder))
    history = recorder.history
    outcomes = {kind for kind, outcome in recorder.counts if outcome in {"200", "201", "204"}}
    assert {"join", "poll", "entries"} <= outcomes
    assert check(history) == []
    assert event_log.compare(history, event_log.read(dsn)) == []
    assert History.read(path) == history
