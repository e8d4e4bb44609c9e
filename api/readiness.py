"""Whether a process can serve: judged hard at its start, softly afterwards."""

from api.board import Board
from api.problems import ReadModelBehind
from commands.errors import StoreUnavailable
from infrastructure.hearing import Hearing


class Readiness:
    """Remembers whether the read models had caught up with the log once since this process began.

    From then on a projector that is stuck is told by metrics; it does not take the API out of service.
    """

    def __init__(self) -> None:
        self._position_at_start: int | None = None
        self._caught_up = False

    def check(self, last_position: int, board: Board, hearing: Hearing) -> None:
        """Raise ReadModelBehind until the read models have reached where the log was at the first check.

        And StoreUnavailable while those who bear a token are not heard, since they would be turned away.
        """
        if not hearing.counts:
            raise StoreUnavailable("NONE")
        if self._position_at_start is None:
            self._position_at_start = last_position
        if not self._caught_up:
            self._caught_up = board.is_read and board.reached >= self._position_at_start
        if not self._caught_up:
            raise ReadModelBehind
