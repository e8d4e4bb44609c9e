"""What a run came to: the log, the read models, and what was answered, held against one another."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, LiteralString

import msgspec
import psycopg

from tests.cli.running_service import TICKETING
from tests.faults.probes import Probe
from tests.faults.product import TOPIC, Product
from tests.faults.run import RECOVERY_S_MAX, WAIT_S_MAX, Fault, Run
from tests.histories import History, check, event_log
from tests.kafka.topic_check import check_found, read_log, read_topic

BUSY_S: Final = 2.0
"""So much later than promised something may be, for the load itself keeps the machine busy."""

STARTS_IN_S: Final = 4.0
"""So long the product takes to start on two cores that have nothing else to do."""

AUDIT_WITHIN_S: Final = 300
DUMP_WITHIN_S: Final = 300

LOG: LiteralString = """
    SELECT json_build_object(
        'position', notification_id, 'stream', originator_id, 'version', originator_version, 'topic', topic,
        'state', convert_from(state, 'UTF8')::json
    )::text
    FROM ticketing.ticketing_events
    ORDER BY notification_id
"""


def slow(run: Run, started_in_s: float) -> Iterator[str]:
    """Tell where somebody waited too long, or something took too long to recover.

    What the product needed to start says how busy the machine is: recovery is mostly the start of processes.
    """
    late_s = max(0.0, started_in_s - STARTS_IN_S)
    for fault in run.faults:
        if fault.recovery_s > RECOVERY_S_MAX + BUSY_S + 2 * late_s:
            yield f"{fault.in_words}: well again after {fault.recovery_s:.1f} s only"
        longest = run.longest_wait(fault)
        if longest is not None and longest.seconds > WAIT_S_MAX + BUSY_S + late_s / 4:
            whom = f"a {longest.kind} of API {longest.api}" if longest.api else f"a {longest.kind}"
            yield f"{fault.in_words}: {whom} was waited for {longest.seconds:.1f} s ({longest.refusals})"


async def unbalanced(probes: Sequence[Probe]) -> Sequence[str]:
    """Tell whose wallet has not exactly what was acknowledged."""
    found = [(await probe.balance(), probe.acknowledged) for probe in probes]
    return [
        f"{acknowledged} won were acknowledged, {balance} are in the wallet"
        for balance, acknowledged in found
        if balance != acknowledged
    ]


def inexplicable(history: History, dsn: str, probes: Sequence[Probe]) -> Iterator[str]:
    """Tell of answers that no order of events under the rules explains, or not the one in the log.

    The probes see to their own wallets.
    """
    events = event_log.read(dsn)
    of_history = [event for event in events if not any(probe.user_id in event.stream for probe in probes)]
    for violation in (*check(history), *event_log.compare(history, of_history)):
        yield str(violation)


def unsound(product: Product) -> Iterator[str]:
    """Have the audit replay the log and compare the read models."""
    ended = subprocess.run(
        [*TICKETING, "audit", "--json"],
        env={**product.environment(product.clocks[0]), "DATABASE_URL": product.dsn},
        capture_output=True,
        text=True,
        timeout=AUDIT_WITHIN_S,
        check=False,
    )
    if ended.returncode != 0:
        yield f"the audit ended with {ended.returncode}: {ended.stdout[-2_000:]} {ended.stderr[-500:]}"
        return
    report: Mapping[str, Any] = msgspec.json.decode(ended.stdout)
    if not report["ok"] or report["read_models"]["different"]:
        yield f"the audit found {report['breaches']}, and read models: {report['read_models']}"


async def incomplete(product: Product) -> Sequence[str]:
    """Tell what is not on the topic as it should be, if there is one: in order, and complete."""
    if product.broker is None:
        return []
    until = await product.published()
    found = read_topic(product.broker.address, TOPIC)
    required = range(product.on_topic_after + 1, until + 1)
    return check_found(product.broker.address, TOPIC, found, read_log(product.dsn), required)


def keep_log(dsn: str, path: Path) -> None:
    """Write the event log down, a line of JSON for each event."""
    with psycopg.connect(dsn) as connection, connection.cursor("log") as cursor, path.open("w") as lines:
        lines.writelines(f"{line}\n" for (line,) in cursor.execute(LOG))


def table(run: Run, kinds: Mapping[str, Sequence[Fault]]) -> Iterator[str]:
    """Tell of each kind how often it came, and what was slowest."""
    yield "| fault | count | slowest wait of others (s) | reads told to wait | slowest recovery (s) |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for kind, faults in kinds.items():
        waits = [run.longest_wait(fault) for fault in faults]
        slowest = max((wait.seconds for wait in waits if wait is not None), default=None)
        recovery_s = max(fault.recovery_s for fault in faults)
        told = sum(run.told_to_wait(fault) for fault in faults) or ""
        wait = "" if slowest is None else f"{slowest:.1f}"
        yield f"| {kind} | {len(faults)} | {wait} | {told} | {recovery_s:.1f} |"
