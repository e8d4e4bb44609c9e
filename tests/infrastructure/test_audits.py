"""Audits that operators ask for run by themselves, whatever becomes of the process that was asked."""

import asyncio
import gc
from uuid import UUID

import psycopg

from infrastructure.audits import Audits
from infrastructure.read_models import ReadModels
from tests.cli.running_service import wait_until


def test_an_audit_goes_on_when_the_process_that_was_asked_has_ended_its_loop(dsn: str) -> None:
    """What is left open at a loop's end says so when it is collected, which fails the test."""
    audit_id = asyncio.run(asked(dsn))
    gc.collect()
    with psycopg.connect(dsn, autocommit=True) as connection:
        wait_until(lambda: status(connection, audit_id) != "RUNNING", "the audit has ended")
        assert status(connection, audit_id) == "DONE"


async def asked(dsn: str) -> UUID:
    async with ReadModels(dsn) as read_models:
        return await Audits(dsn, read_models).start(None)


def status(connection: psycopg.Connection, audit_id: UUID) -> str:
    found = connection.execute("SELECT status FROM ticketing.audits WHERE audit_id = %s", [audit_id])
    ((told,),) = found.fetchall()
    return str(told)
