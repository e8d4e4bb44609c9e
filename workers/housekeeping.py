"""Housekeeping: what has served its time, beside the log and in the read models, is removed."""

from infrastructure.housekeeping import ROWS_AT_ONCE, remove_heard_of_ended, remove_old_outcomes
from infrastructure.read_models import ReadModels
from projections.queue import remove_old_changes


class Housekeeping:
    """Removes a little at a time."""

    def __init__(self, read_models: ReadModels) -> None:
        self._read_models = read_models

    async def round(self) -> bool:
        """Remove some rows of each kind; return whether there are more."""
        outcomes = await self._read_models.read(remove_old_outcomes)
        await self._read_models.read(remove_old_changes)
        heard = await self._read_models.read(remove_heard_of_ended)
        return max(outcomes, heard) == ROWS_AT_ONCE
