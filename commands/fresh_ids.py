"""Fresh ids, a few hundred for one system call: one call for each would cost more than all else of an id."""

import os
from uuid import UUID

import msgspec

POOL_SIZE = 256
"""So many are made at once: 4 KiB of random bytes."""

ID_BYTES = 16

VERSION_4 = bytes(byte & 0x0F | 0x40 for byte in range(256))
VARIANT = bytes(byte & 0x3F | 0x80 for byte in range(256))
"""RFC 9562 (5.4): what stands in the bytes 6 and 8 of a random id."""

_pool: list[UUID] = []


def fresh_id() -> UUID:
    """Return a random UUID (version 4) that nobody else has."""
    if not _pool:
        _pool.extend(_made())
    return _pool.pop()


def _made() -> list[UUID]:
    random = bytearray(os.urandom(ID_BYTES * POOL_SIZE))
    random[6::ID_BYTES] = random[6::ID_BYTES].translate(VERSION_4)
    random[8::ID_BYTES] = random[8::ID_BYTES].translate(VARIANT)
    ids = [bytes(random[at : at + ID_BYTES]) for at in range(0, len(random), ID_BYTES)]
    return msgspec.convert(ids, list[UUID])


os.register_at_fork(after_in_child=_pool.clear)  # a child would give the ids that its parent gives
