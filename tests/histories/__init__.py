"""Histories over HTTP: many clients against a running service, and a checker that believes only answers.

    recorder = Recorder(path)                    # .add(call), .history, .counts; JSON lines in `path`
    await run_load(Target(urls, admin_key), seed=7, seconds=60, recorder=recorder)
    violations = check(recorder.history)         # none, or Violation(rule, what, calls), which print well

`run_load` knows nothing of how the service runs. Lost connections and refusals that pass (503) are recorded
as what they are, and the client goes on with the same Idempotency-Key.
`check` is pure: it needs the calls alone.
`running_processes(dsn, logs)` runs a service of two API processes, two projectors and two timers.

`python -m tests.histories --seconds N --seed S` plays one.
"""

from tests.histories.checker import Violation, check
from tests.histories.client import Target
from tests.histories.load import run_load
from tests.histories.record import Call, History, Recorder

__all__ = ["Call", "History", "Recorder", "Target", "Violation", "check", "run_load"]
