"""`python -m tests.histories`: a service, a load, and whether what came of it can be explained."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from infrastructure import schema
from infrastructure.embedded_postgres import EmbeddedPostgres
from tests.histories import Recorder, run_load
from tests.histories.service import running_processes


def main() -> None:
    """Play one history."""
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ticketing-histories-"))
    folder.chmod(0o711)  # root has PostgreSQL run by another account
    with EmbeddedPostgres(folder / "postgres", folder / "postgres.log") as postgres:
        schema.migrate(postgres.dsn)
        recording = Recorder(folder / "history.jsonl")
        with recording as recorder, running_processes(postgres.dsn, folder) as target:
            asyncio.run(run_load(target, seed=asked.seed, seconds=asked.seconds, recorder=recorder))


if __name__ == "__main__":
    main()
