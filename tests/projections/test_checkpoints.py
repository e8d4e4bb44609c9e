"""Checkpoints of projections that have none yet."""

from pathlib import Path

from projections import checkpoints
from projections.registry import PROJECTIONS
from tests.asynchronous import asynchronous
from tests.projections.read_models import connect


@asynchronous
async def test_a_process_that_is_stopped_while_it_begins_holds_up_no_relay(dsn: str, tmp_path: Path) -> None:
    """What it asks for takes one message, so nothing is left that it would have to say."""
    connection = await connect(dsn)
    traced = tmp_path / "trace"
    with traced.open("w") as trace:
        connection.pgconn.trace(trace.fileno())
        await checkpoints.begin(connection, PROJECTIONS)
        connection.pgconn.untrace()
    await connection.close()
    said = [line.split("\t") for line in traced.read_text().splitlines() if "\tF\t" in line]
    assert [kind for _, _, _, kind, *_ in said] == ["Query"]
