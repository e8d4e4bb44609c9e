"""The names of people: a plain table beside the log, from which they can be erased."""

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection


async def name_of(connection: AsyncConnection[Any], *, user_id: UUID) -> str | None:
    """Return the user's name, None where none was given or it was erased."""
    cursor = await connection.execute("SELECT name FROM ticketing.users WHERE user_id = %s", [user_id])
    row = await cursor.fetchone()
    return None if row is None else row[0]
