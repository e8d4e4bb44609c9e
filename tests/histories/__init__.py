"""Histories over HTTP: many clients against a running service.

    recorder = Recorder(path)                    # .add(call), .history, .counts; JSON lines in `path`
    await run_load(Target(urls, admin_key), seed=7, seconds=60, recorder=recorder)

`run_load` knows nothing of how the service runs. Lost connections and refusals that pass (503) are recorded
as what they are, and the client goes on with the same Idempotency-Key.
`running_processes(dsn, logs)` runs a service of two API processes, two projectors and two timers.

`python -m tests.histories --seconds N --seed S` plays one.
"""

from tests.histories.client import Target
from tests.histories.load import run_load
from tests.histories.record import Call, History, Recorder

__all__ = ["Call", "History", "Recorder", "Target", "run_load"]
