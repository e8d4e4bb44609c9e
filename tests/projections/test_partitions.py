"""Partitions: chosen as Kafka's own clients choose them."""

from hypothesis import given
from hypothesis.strategies import binary, integers, text
from kafka.partitioner.default import murmur2 as murmur2_of_a_client

from projections.partitions import murmur2, partition_of


@given(binary(max_size=200))
def test_keys_are_hashed_as_another_client_does(key: bytes) -> None:
    assert murmur2(key) == murmur2_of_a_client(key) & 0xFFFFFFFF


@given(text(max_size=40), integers(min_value=1, max_value=1_000))
def test_every_key_has_one_of_the_partitions(key: str, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_a_log_without_a_topic_is_one_partition() -> None:
    assert {partition_of(key, 1) for key in ("", "FIVE-NIGHTS", "WINTER")} == {0}
