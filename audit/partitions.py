"""Which partition of the topic an event belongs to: read models stand at a position for each of them.

The rule is that of Kafka's own clients: the murmur2 hash of the key, without its sign, modulo the number of
partitions.
"""

from functools import lru_cache
from struct import iter_unpack
from typing import Final

WORD: Final = (1 << 32) - 1
SEED: Final = 0x9747B28C
FACTOR: Final = 0x5BD1E995

KEYS_KEPT: Final = 65_536
"""Concerts and users come again and again; 10 MB at most."""


@lru_cache(KEYS_KEPT)
def partition_of(key: str, partitions: int) -> int:
    """Tell to which of so many partitions an event with this partition key belongs."""
    return 0 if partitions == 1 else (_murmur2(key.encode()) & WORD >> 1) % partitions


def _murmur2(content: bytes) -> int:
    whole = len(content) & ~3
    mixed = SEED ^ len(content)
    for (word,) in iter_unpack("<I", content[:whole]):
        scrambled = word * FACTOR & WORD
        mixed = mixed * FACTOR & WORD ^ (scrambled ^ scrambled >> 24) * FACTOR & WORD
    if rest := content[whole:]:
        mixed = (mixed ^ int.from_bytes(rest, "little")) * FACTOR & WORD
    mixed = (mixed ^ mixed >> 13) * FACTOR & WORD
    return mixed ^ mixed >> 15
