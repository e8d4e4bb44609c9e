"""A duty of the timer: something that it looks after, round by round."""

from typing import Protocol


class Duty(Protocol):
    """Looks at the read models, and sends the commands that they suggest."""

    async def round(self) -> bool:
        """Do one round; return whether there is more to do at once. Raises StoreUnavailable."""
        ...
