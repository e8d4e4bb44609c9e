"""Partitions: the parts of the log that are applied side by side, each in its own order.

An event goes by its partition key, as Kafka's own clients choose a partition unless told otherwise. Without
Kafka the log is one partition.
"""

from collections.abc import Mapping
from functools import lru_cache

Positions = Mapping[int, int]
"""A position of the log for each partition: all its events up to there."""

KEYS_KEPT = 65_536
"""A concert's or a user's key comes again and again; 10 MB at most."""

SEED, MULTIPLIER, SHIFT, WORD = 0x9747B28C, 0x5BD1E995, 24, 0xFFFFFFFF


@lru_cache(KEYS_KEPT)
def partition_of(key: str, partitions: int) -> int:
    """Return to which of so many partitions the events with this key belong."""
    return 0 if partitions == 1 else (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """Hash as Kafka's clients do (`org.apache.kafka.common.utils.Utils.murmur2`), without a sign."""
    tail = len(key) % 4
    mixed = SEED ^ len(key)
    for start in range(0, len(key) - tail, 4):
        block = int.from_bytes(key[start : start + 4], "little") * MULTIPLIER & WORD
        block ^= block >> SHIFT
        mixed = (mixed * MULTIPLIER & WORD) ^ (block * MULTIPLIER & WORD)
    if tail:
        mixed = (mixed ^ int.from_bytes(key[-tail:], "little")) * MULTIPLIER & WORD
    mixed ^= mixed >> 13
    mixed = mixed * MULTIPLIER & WORD
    return mixed ^ mixed >> 15
