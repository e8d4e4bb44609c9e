"""`python -m tests.hostile`: attack a service of its own with requests that schemathesis makes up."""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.cli.running_service import free_port, running_service
from tests.hostile.attack import Target

EXAMPLES: Final = 100
"""Per operation and round, besides those that each round tries anyway: small rounds tell early."""

ROUND_S: Final = 1_800.0
"""No round takes so long."""


def main() -> int:
    """Attack in rounds, each with a seed of its own, until there were enough cases; tell what came."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.hostile")
    parser.add_argument("--cases", type=int, default=20_000, help="stop after so many (default 20,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (default 1)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ticketing-hostile-"))
    folder.chmod(0o711)  # root has PostgreSQL run by another account
    answers: Counter[str] = Counter()
    began_at, failed, seed = time.monotonic(), 0, options.seed
    with running_service(folder / "data", free_port(), "--no-sample") as service:
        target = Target(f"http://127.0.0.1:{service.port}", service.secrets["admin_key"])
        while answers.total() < options.cases:
            outcome = target.attack("--max-examples", str(EXAMPLES), seed=seed, within_s=ROUND_S)
            answers += outcome.answers
            failed += not outcome.ok
            told = f"seed {seed}: {outcome.answers.total():,} cases, {'ok' if outcome.ok else 'FAILED'}"
            say(told if outcome.ok else f"{told}\n{outcome.said}")
            if not outcome.answers:
                break
            seed += 1
    shutil.rmtree(folder)
    report(answers)
    say(f"{answers.total():,} cases in {time.monotonic() - began_at:.0f} s, {failed} rounds with failures")
    return 1 if failed else 0


def say(line: str) -> None:
    """Tell whoever waits, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def report(answers: Counter[str]) -> None:
    """Print how often each operation gave each status."""
    by_operation: dict[str, Counter[str]] = {}
    for answer, count in answers.items():
        status, _, operation = answer.partition(" ")
        by_operation.setdefault(operation, Counter())[status] += count
    for operation, statuses in sorted(by_operation.items()):
        told = "  ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
        say(f"{operation:<60} {told}")


if __name__ == "__main__":
    sys.exit(main())
