"""The topic in a real cluster: made as configured, and clear words where it is not as it must be."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)
from kafka.errors import KafkaTimeoutError
from pydantic import SecretStr

from infrastructure import cluster
from infrastructure.cluster import ClusterError, ClusterOutOfReach, TopicMissing
from infrastructure.kafka_client import open_client
from infrastructure.settings import Settings
from tests.kafka.broker import Broker
from tests.kafka.users import WITH_USERS

HOUR_MS = 3_600_000

AS_RELAY: Mapping[str, Any] = {
    "kafka_security_protocol": "sasl_plaintext",
    "kafka_sasl_mechanism": "plain",
    "kafka_sasl_username": "relay",
    "kafka_sasl_password": SecretStr("r"),
}


def settings(kafka: str, topic: str, **values: Any) -> Settings:
    return Settings(**{"kafka": (kafka,), "kafka_topic": topic, "kafka_partitions": 3, **values})


@pytest.fixture
def admin(kafka: str) -> Iterator[Any]:
    with closing(KafkaAdminClient(bootstrap_servers=kafka)) as admin:
        yield admin


AS_BROKER: Mapping[str, Any] = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "broker",
    "sasl_plain_password": "b",
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with users, of whom one may describe topics and no more."""
    with Broker(tmp_path_factory.mktemp("guarded"), more_properties=WITH_USERS) as broker:
        admin: Any = KafkaAdminClient(bootstrap_servers=broker.address, **AS_BROKER)
        with closing(admin):
            seen = ResourcePattern(ResourceType.TOPIC, "seen")
            admin.create_acls([ACL("User:relay", "*", ACLOperation.DESCRIBE, ACLPermissionType.ALLOW, seen)])
        yield broker


def test_the_topic_is_made_as_configured(kafka: str, topic_name: str, admin: Any) -> None:
    wanted = settings(kafka, topic_name, kafka_retention_hours=2)
    assert cluster.ensure_topic(wanted)
    assert not cluster.ensure_topic(wanted)

    (made,) = admin.describe_topics([topic_name])
    assert len(made["partitions"]) == 3
    configs = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic_name)])["topic"][
        topic_name
    ]
    assert configs["retention.ms"]["value"] == str(2 * HOUR_MS)
    assert configs["cleanup.policy"]["value"] == "delete"
    cluster.check_topic(wanted)


def test_a_topic_that_is_missing_is_said(kafka: str, topic_name: str) -> None:
    with pytest.raises(TopicMissing) as refused:
        cluster.check_topic(settings(kafka, topic_name))
    assert str(refused.value) == (
        f"TICKETING_KAFKA_TOPIC: the cluster does not have {topic_name}: run `ticketing migrate`, or create "
        "it with 3 partitions, cleanup.policy=delete, retention.ms=86400000"
    )


@pytest.mark.parametrize("partitions", [2, 4])
def test_other_partitions_are_refused(kafka: str, topic_name: str, admin: Any, partitions: int) -> None:
    admin.create_topics({topic_name: {"num_partitions": partitions}}, wait_for_metadata=True)
    with pytest.raises(ClusterError, match=rf"KAFKA_PARTITIONS: 3, but .* {topic_name} has {partitions}: "):
        cluster.ensure_topic(settings(kafka, topic_name))


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_topic_is_refused(kafka: str, topic_name: str, admin: Any, policy: str) -> None:
    admin.create_topics(
        {topic_name: {"num_partitions": 3, "configs": {"cleanup.policy": policy}}}, wait_for_metadata=True
    )
    with pytest.raises(ClusterError, match=r"cleanup\.policy=.*compact.*: set cleanup\.policy=delete"):
        cluster.ensure_topic(settings(kafka, topic_name))


def test_more_replicas_than_brokers_are_refused(kafka: str, topic_name: str) -> None:
    with pytest.raises(ClusterError, match=r"^TICKETING_KAFKA_REPLICATION: 3, but the cluster has fewer"):
        cluster.ensure_topic(settings(kafka, topic_name, kafka_replication=3))


def test_brokers_out_of_reach_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructure.kafka_client.BOOTSTRAP_TIMEOUT_MS", 200)
    with pytest.raises(ClusterOutOfReach) as refused:
        cluster.check_topic(settings("127.0.0.1:1", "sale"))
    assert str(refused.value) == (
        "TICKETING_KAFKA: no broker at 127.0.0.1:1 answers as with "
        "TICKETING_KAFKA_SECURITY_PROTOCOL=plaintext: KafkaConnectionError: 111 ECONNREFUSED"
    )


def test_brokers_that_speak_otherwise_are_out_of_reach(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructure.kafka_client.BOOTSTRAP_TIMEOUT_MS", 1_000)
    with pytest.raises(ClusterOutOfReach, match=r"SECURITY_PROTOCOL=ssl: .*Handshake failed"):
        cluster.check_topic(settings(kafka, "sale", kafka_security_protocol="ssl"))


def test_wrong_credentials_are_named(guarded: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructure.kafka_client.BOOTSTRAP_TIMEOUT_MS", 2_000)
    monkeypatch.setattr("infrastructure.kafka_client.RECONNECT_BACKOFF_MAX_MS", 20)
    wrong = {**AS_RELAY, "kafka_sasl_password": SecretStr("very-private")}
    with pytest.raises(
        ClusterError, match="TICKETING_KAFKA_SASL_USERNAME, TICKETING_KAFKA_SASL_PASSWORD"
    ) as said:
        cluster.check_topic(settings(guarded.address, "seen", **wrong))
    assert "private" not in str(said.value)


def test_where_we_may_not_make_the_topic_somebody_is_told_what_to_make(guarded: Broker) -> None:
    with pytest.raises(TopicMissing) as refused:
        cluster.ensure_topic(settings(guarded.address, "seen", **AS_RELAY))
    assert str(refused.value) == (
        "TICKETING_KAFKA_TOPIC: the cluster does not have seen, and does not let us make it "
        "(TopicAuthorizationFailedError): create it with 3 partitions, cleanup.policy=delete, "
        "retention.ms=86400000"
    )


def test_a_topic_that_we_may_not_even_see_is_said(guarded: Broker) -> None:
    with pytest.raises(
        ClusterError, match="does not let us use unseen: it takes the permissions to describe"
    ):
        cluster.check_topic(settings(guarded.address, "unseen", **AS_RELAY))


def test_nobody_has_the_broker_make_a_topic_by_the_way(guarded: Broker) -> None:
    options: Mapping[str, Any] = {"bootstrap_servers": guarded.address, **AS_BROKER}
    producer: Any = open_client(KafkaProducer, {**options, "max_block_ms": 500})
    with closing(producer), pytest.raises(KafkaTimeoutError):
        producer.partitions_for("nowhere")
    admin: Any = open_client(KafkaAdminClient, options)
    with closing(admin):
        assert "nowhere" not in admin.list_topics()
