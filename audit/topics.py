"""How a module says which events it reads: by topic, the payload's type and the function that judges it."""

from collections.abc import Callable, Mapping
from typing import Any

from audit.books import Books

Judge = Callable[[Books, Any, Any, int], None]
"""`judge(books, stream, payload, position)`: holds one event against the books, and enters it."""

Topics = Mapping[str, tuple[type, Judge]]
