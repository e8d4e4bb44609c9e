"""What is removed from the plain tables beside the log when it has served its time."""

from typing import Any, LiteralString

from psycopg import AsyncConnection

from projections.projection import in_schema
from projections.queue import PROJECTION

OUTCOMES_KEPT_H = 24
"""How long a repeated idempotency key finds its first answer (rule I1)."""

HEARD_KEPT_H = 1
"""How long it is kept when a token that has ended was heard from: there is no hurry."""

ROWS_AT_ONCE = 5_000
"""Few enough to hold nobody up."""

REMOVE_OUTCOMES: LiteralString = """
    DELETE FROM ticketing.command_outcomes
    WHERE (caller, key) IN (
        SELECT caller, key
        FROM ticketing.command_outcomes
        WHERE recorded_at < statement_timestamp() - make_interval(hours => %s)
        ORDER BY recorded_at
        LIMIT %s
    )
"""

REMOVE_HEARD: LiteralString = """
    DELETE FROM ticketing.heard
    WHERE token_id IN (
        SELECT heard.token_id
        FROM ticketing.heard
        JOIN {schema}.tokens AS token USING (token_id)
        WHERE heard.last_heard_at < statement_timestamp() - make_interval(hours => %s)
          AND token.status IN ('COMPLETED', 'EXPIRED', 'CANCELLED')
        LIMIT %s
    )
"""
"""Of tokens that are known to have ended: for one that lives, a row that is gone would look like silence."""


async def remove_old_outcomes(connection: AsyncConnection[Any]) -> int:
    """Remove some of the outcomes whose time is over; return how many."""
    cursor = await connection.execute(REMOVE_OUTCOMES, [OUTCOMES_KEPT_H, ROWS_AT_ONCE])
    return cursor.rowcount


async def remove_heard_of_ended(connection: AsyncConnection[Any]) -> int:
    """Remove some of what was heard from tokens that have ended; return how many rows."""
    statement = in_schema(REMOVE_HEARD, PROJECTION.schema).encode()
    cursor = await connection.execute(statement, [HEARD_KEPT_H, ROWS_AT_ONCE])
    return cursor.rowcount
