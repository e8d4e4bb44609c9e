"""`python -m tests.faults`: break the product for a while, and see whether it keeps its word."""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tests.faults import verdict
from tests.faults.kafka_kinds import KINDS_OF_KAFKA
from tests.faults.kinds import KINDS
from tests.faults.product import Product
from tests.faults.run import NotRecovered, Run, by_kind
from tests.histories import Recorder, Target, run_load

COMPLAINTS_SHOWN_MAX: Final = 20


class Outcome(NamedTuple):
    """What a run came to."""

    report: Sequence[str]
    complaints: Sequence[str]


def main() -> None:
    """Run, print the report, and end with 1 where something was not as promised; then all is kept."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="ticketing-faults-"))
    folder.chmod(0o711)  # root has PostgreSQL run by another account
    kept = f"seed {asked.seed}: everything is kept in {folder}"
    try:
        outcome = asyncio.run(_run(folder, asked))
    except BaseException:
        _say(kept)
        raise
    _say("\n".join([f"seed {asked.seed}", *outcome.report]))
    if outcome.complaints:
        _say("\n".join(["", *outcome.complaints[:COMPLAINTS_SHOWN_MAX], kept]))
        sys.exit(1)
    if asked.keep:
        _say(kept)
    else:
        shutil.rmtree(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the load goes on")
    parser.add_argument("--seed", default="1", help="draws the load, the faults and their moments")
    parser.add_argument(
        "--only", action="append", metavar="KIND", choices=sorted(KINDS), help=f"of {', '.join(KINDS)}"
    )
    parser.add_argument("--kafka", action="store_true", help="with Kafka between log and read models")
    parser.add_argument("--keep", action="store_true", help="keep everything, also where all went well")
    asked = parser.parse_args()
    if asked.only and not asked.kafka and KINDS_OF_KAFKA.keys() >= set(asked.only):
        parser.error(f"{', '.join(asked.only)}: only with --kafka")
    return asked


async def _run(folder: Path, asked: argparse.Namespace) -> Outcome:
    """Load the product, break it meanwhile, and judge what is left."""
    _end_in_order_on_sigterm()
    complaints: list[str] = []
    async with Product(folder, kafka=asked.kafka) as product:
        run = Run(product, asked.seed, _say)
        recorder = Recorder(folder / "history.jsonl")
        try:
            with recorder:
                await _load_and_strike(run, product, recorder, asked)
        except* NotRecovered as failure:
            complaints += map(str, _leaves(failure))
        else:
            complaints += await _judge(run, product, recorder)
        finally:
            _keep(product, run, folder)
        if complaints:
            verdict.keep_log(product.dsn, folder / "log.jsonl")
    calls = len(recorder.calls)
    told = sum(1 for call in recorder.calls if call.status is not None)
    probed = sum(len(probe.done) for probe in run.probes)
    return Outcome(
        [
            *verdict.table(run, by_kind(run.faults)),
            f"{len(run.faults)} faults; {calls} calls, {told} of them answered; {probed} probes",
            f"the product started in {product.started_in_s:.1f} s",
        ],
        complaints,
    )


def _leaves(group: ExceptionGroup[NotRecovered]) -> Iterator[NotRecovered]:
    for failure in group.exceptions:
        if isinstance(failure, ExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure


def _end_in_order_on_sigterm() -> None:
    """Leave no process behind; as after Ctrl-C, for which asyncio cares."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)


async def _load_and_strike(run: Run, product: Product, recorder: Recorder, asked: argparse.Namespace) -> None:
    deadline = time.monotonic() + asked.seconds
    kinds = {name: kind for name, kind in KINDS.items() if asked.only is None or name in asked.only}
    target = Target(product.urls, product.admin_key)
    async with run.probing(), asyncio.TaskGroup() as tasks:
        tasks.create_task(run_load(target, seed=asked.seed, seconds=asked.seconds, recorder=recorder))
        tasks.create_task(run.strike_until(deadline, kinds))


async def _judge(run: Run, product: Product, recorder: Recorder) -> Sequence[str]:
    return [
        *verdict.slow(run, product.started_in_s),
        *await verdict.unbalanced(run.probes),
        *verdict.inexplicable(recorder.history, product.dsn, run.probes),
        *verdict.unsound(product),
        *await verdict.incomplete(product),
    ]


def _keep(product: Product, run: Run, folder: Path) -> None:
    """Put beside the history what was done and seen, and the logs on the disk that ends with the product."""
    shutil.copytree(product.postgres_logs, product.logs / "up", dirs_exist_ok=True)
    for name, lines in (("faults", run.faults), ("probes", run.seen)):
        (folder / f"{name}.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (the report)


if __name__ == "__main__":
    main()
