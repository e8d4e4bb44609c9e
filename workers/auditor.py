"""The process that runs one audit which an operator has asked for, and writes down what it finds."""

import os
import sys
import time
from typing import Any
from uuid import UUID

import msgspec
import psycopg

import audit
from infrastructure.audits import AUDIT_LOCK

PROGRESS_EVERY_S = 0.5


def main(audit_id: UUID, dsn: str) -> None:
    """Audit the log, and keep the report in the plain table; whatever goes wrong marks it as failed."""
    with psycopg.connect(dsn, autocommit=True, application_name="ticketing-audit") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [AUDIT_LOCK])
        try:
            report = _audit(audit_id, dsn, connection)
        except BaseException:
            connection.execute(
                "UPDATE ticketing.audits SET status = 'FAILED' WHERE audit_id = %s", [audit_id]
            )
            raise
        connection.execute(
            "UPDATE ticketing.audits SET status = 'DONE', progress = 1, report = %s WHERE audit_id = %s",
            [msgspec.json.encode(report).decode(), audit_id],
        )


def _audit(audit_id: UUID, dsn: str, connection: psycopg.Connection[Any]) -> audit.Report:
    row = connection.execute("SELECT at FROM ticketing.audits WHERE audit_id = %s", [audit_id]).fetchone()
    if row is None:
        raise LookupError(audit_id)
    (at,) = row
    told_at = 0.0

    def tell(position: int, last: int) -> None:
        nonlocal told_at
        if (now := time.monotonic()) - told_at < PROGRESS_EVERY_S:
            return
        told_at = now
        connection.execute(
            "UPDATE ticketing.audits SET progress = %s WHERE audit_id = %s",
            [min(1.0, position / max(last, 1)), audit_id],
        )

    return audit.run(dsn, at=at, compare=at is None, progress=tell)


if __name__ == "__main__":
    main(UUID(sys.argv[1]), os.environ["DATABASE_URL"])
