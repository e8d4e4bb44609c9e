"""The timetable: sales open and close by time, and performances begin (rules L1, L2)."""

from collections.abc import Hashable

from commands.command import Command
from commands.run_sale import FollowTimetable
from commands.withdraw_seats import WithdrawSeats
from infrastructure.read_models import ReadModels
from projections import deadlines
from workers.suggester import AT_ONCE, Suggester


class Timetable:
    """Opens and closes sales, and withdraws the unsold seats of performances that have begun."""

    def __init__(self, read_models: ReadModels, suggester: Suggester) -> None:
        self._read_models = read_models
        self._suggester = suggester

    async def round(self) -> bool:
        """Do what the time has come for; return whether there is more."""
        limit = AT_ONCE + self._suggester.remembered
        async with self._read_models.connection() as connection:
            sales = await deadlines.due_sales(connection, limit=limit)
            performances = await deadlines.due_performances(connection, limit=limit)
        due: dict[Hashable, Command] = {
            (sale.code, sale.due_at): FollowTimetable(sale.code) for sale in sales.value
        }
        for begun in performances.value:
            due[begun.code, begun.date, begun.start_time] = WithdrawSeats(
                begun.code, begun.date, begun.start_time
            )
        made = await self._suggester.make(min(sales.position, performances.position), due)
        return len(made) == AT_ONCE
