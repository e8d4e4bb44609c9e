"""Expiry: holds and tokens whose time is over are recorded as such (rules S2, Q5)."""

from collections.abc import Hashable
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from commands.command import Command
from commands.record_expiry import RecordExpiry
from commands.unit_of_work import Visit
from infrastructure.read_models import ReadModels
from projections import deadlines
from projections.deadlines import DueHold, DueToken
from workers.suggester import AT_ONCE, Suggester


class Expiry:
    """Records what has run out, the longest overdue first."""

    def __init__(self, read_models: ReadModels, suggester: Suggester) -> None:
        self._read_models = read_models
        self._suggester = suggester
        self.lateness_s = 0.0
        """How long after its deadline the last round recorded what was longest overdue."""

    async def round(self) -> bool:
        """Record what is due; return whether more is."""
        limit = AT_ONCE + self._suggester.remembered
        async with self._read_models.connection() as connection:
            holds = await deadlines.due_holds(connection, limit=limit)
            tokens = await deadlines.due_tokens(connection, limit=limit)
        both: list[DueHold | DueToken] = [*holds.value, *tokens.value]
        due = {_key(one): one for one in sorted(both, key=_due_at)}
        position = min(holds.position, tokens.position)
        made = await self._suggester.make(position, {key: _command(one) for key, one in due.items()})
        if made:
            longest_overdue = min(due[key].due_at for key in made)
            self.lateness_s = await self._read_models.read(_seconds_since, longest_overdue)
        return len(made) == AT_ONCE


def _key(due: DueHold | DueToken) -> Hashable:
    return due.token_id, due.due_at


def _due_at(due: DueHold | DueToken) -> datetime:
    return due.due_at


def _command(due: DueHold | DueToken) -> Command:
    return RecordExpiry(Visit(due.code, due.token_id), due.user_id)


async def _seconds_since(connection: AsyncConnection[Any], moment: datetime) -> float:
    cursor = await connection.execute("SELECT extract(epoch FROM clock_timestamp() - %s)::float8", [moment])
    rows = await cursor.fetchall()
    return float(rows[0][0])
