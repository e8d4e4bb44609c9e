"""Python's garbage collector, told how much is made at a time by who makes thousands of objects at once."""

import gc

YOUNG_OBJECTS_MAX = 50_000
"""A batch makes so many, without cycles: looking for some after every 700, as is usual, finds nothing."""


def collect_rarely() -> None:
    """Have what has been loaded by now stay, and look through the rest more rarely.

    To be called once, before the work begins. Relays and projectors do about a fifth more in the same time
    (`bench.topic`), and an API process decides about a seventh more commands.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, *gc.get_threshold()[1:])
