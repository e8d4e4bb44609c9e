"""Python's garbage collector, told how much is made at a time by who makes thousands of objects at once."""

import gc

IN_BATCHES = 50_000
"""A batch of events makes so many, without cycles: looking for some after every 700, as is usual, costs."""

BETWEEN_ANSWERS = 10_000
"""Where somebody waits for an answer meanwhile: looking through so many takes a few milliseconds."""

YOUNG_PER_OLD = 100
"""What stays is looked through again when a hundred times as much has come to it, such as a million objects.

As usual it would be ten times: while a memory of fifty thousand streams fills, that is a third of a second.
"""


def collect_rarely(young_objects_max: int) -> None:
    """Have what has been loaded by now stay, and look through the rest more rarely.

    To be called once, before the work begins. Relays and projectors do about a fifth more in the same time
    (`bench.topic`), and an API process decides about a seventh more commands.
    """
    gc.freeze()
    gc.set_threshold(young_objects_max, YOUNG_PER_OLD, gc.get_threshold()[2])
