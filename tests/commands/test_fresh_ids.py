"""Ids come from a pool, which nobody else must have."""

import os
from uuid import RFC_4122

import pytest

from commands.fresh_ids import POOL_SIZE, fresh_id


def test_ids_are_random_ones_of_version_4_and_never_come_again() -> None:
    ids = [fresh_id() for _ in range(10 * POOL_SIZE)]
    assert len(set(ids)) == len(ids)
    assert {(made.version, made.variant) for made in ids} == {(4, RFC_4122)}


def test_every_other_bit_is_random() -> None:
    ids = [fresh_id().int for _ in range(10 * POOL_SIZE)]
    always_one = ids[0]
    never_one = 0
    for number in ids:
        always_one &= number
        never_one |= number
    assert always_one == 0x4 << 76 | 0x1 << 63  # the version's and the variant's ones
    assert never_one == (1 << 128) - 1 - (0xB << 76) - (0x1 << 62)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # the child does nothing else
def test_a_forked_process_gives_ids_of_its_own() -> None:
    fresh_id()
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, fresh_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    from_child = os.read(readable, 16)
    os.close(readable)
    os.close(writable)
    assert from_child not in {fresh_id().bytes for _ in range(POOL_SIZE)}
