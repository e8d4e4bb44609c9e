"""Members of the group: whatever brings a rebalance about, each learns which partitions it has."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from kafka.admin import KafkaAdminClient

from infrastructure import cluster, group_member
from infrastructure.group_member import GroupMember
from infrastructure.kafka_client import client_options
from infrastructure.settings import Settings

PARTITIONS = 4
WITHIN_S = 10.0
LOOK_EVERY_S = 0.005

TIMES = 4


@pytest.fixture
def told(kafka: str, topic_name: str) -> Settings:
    settings = Settings(kafka=(kafka,), kafka_topic=topic_name, kafka_partitions=PARTITIONS)
    cluster.ensure_topic(settings)
    return settings


@pytest.fixture
def members(told: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[GroupMember, GroupMember]]:
    """Two of a group, whose calls end in the middle of many a rebalance."""
    monkeypatch.setattr(group_member, "POLL_MS", 15)
    options = client_options(told)
    first, second = GroupMember(told.kafka_topic, options), GroupMember(told.kafka_topic, options)
    for one in (first, second):
        one.start()
    yield first, second
    for one in (first, second):
        one.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(LOOK_EVERY_S)


def test_they_share_a_topic_however_often_it_is_deleted_and_made_anew(
    told: Settings, members: tuple[GroupMember, GroupMember]
) -> None:
    first, second = members

    def share() -> bool:
        return sorted([*first.partitions, *second.partitions]) == list(range(PARTITIONS)) and bool(
            first.partitions and second.partitions
        )

    until(share)
    with closing(KafkaAdminClient(bootstrap_servers=told.required_kafka[0])) as admin:
        for _ in range(TIMES):
            admin.delete_topics([told.kafka_topic])
            until(lambda: not first.partitions and not second.partitions)
            cluster.ensure_topic(told)
            until(share)
