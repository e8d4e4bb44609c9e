"""The topic in the Kafka cluster: made as configured, and seen to be as it must be.

The log is the truth, so the topic may be short-lived, and may be deleted: what is missing is read from the
log. It must never be compacted: an event does not take the place of the one before it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from infrastructure.kafka_client import LastWords, client_options, last_words, open_client
from infrastructure.settings import PREFIX, Settings

REQUEST_TIMEOUT_MS = 10_000

READY_WITHIN_MS = 10_000
"""A new topic has leaders for its partitions within milliseconds."""

HOUR_MS = timedelta(hours=1) // timedelta(milliseconds=1)

Cluster = Any
"""A KafkaAdminClient. It comes without types, and those that others have written are of an older one."""

FORBIDDEN = (
    errors.TopicAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.PolicyViolationError,
)


class ClusterError(Exception):
    """The topic cannot be used; the text is one line for whoever started the process."""


class ClusterOutOfReach(ClusterError):
    """No broker answers, which may change at any time."""


class TopicMissing(ClusterError):
    """The cluster does not have the topic."""


def ensure_topic(settings: Settings) -> bool:
    """Make the topic unless the cluster has it, and see that it is as it must be; return whether it was made.

    Any number of processes may call it at once. Raises ClusterError, and SettingsError.
    """
    with _cluster(settings) as cluster:
        made = False
        if _partitions(cluster, settings) is None:
            made = _make(cluster, settings)
        _check(cluster, settings)
        return made


def check_topic(settings: Settings) -> None:
    """See that the topic is as it must be. Raises ClusterError or SettingsError."""
    with _cluster(settings) as cluster:
        _check(cluster, settings)


@contextmanager
def _cluster(settings: Settings) -> Iterator[Cluster]:
    options = {
        **client_options(settings),
        "client_id": "ticketing-topic",
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }
    with last_words() as words:
        try:
            cluster: Cluster = open_client(KafkaAdminClient, options)
            try:
                yield cluster
            finally:
                cluster.close()
        except errors.KafkaError as error:
            raise _in_words(error, words, settings) from None


def _in_words(error: errors.KafkaError, words: LastWords, settings: Settings) -> ClusterError:
    credentials = f"{PREFIX}KAFKA_SASL_USERNAME, {PREFIX}KAFKA_SASL_PASSWORD"
    if words.refused:
        return ClusterError(f"{credentials}: the brokers refuse them")
    brokers = ",".join(settings.required_kafka)
    if isinstance(error, errors.KafkaTimeoutError | errors.KafkaConnectionError):
        spoken = f"{PREFIX}KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}"
        perhaps = f"; or are they wrong: {credentials}?" if settings.kafka_sasl_username else ""
        return ClusterOutOfReach(
            f"{PREFIX}KAFKA: no broker at {brokers} answers as with {spoken}: {words.text or error}{perhaps}"
        )
    if isinstance(error, errors.TopicAuthorizationFailedError):
        return ClusterError(
            f"{PREFIX}KAFKA_TOPIC: the cluster does not let us use {settings.kafka_topic}: it takes the "
            "permissions to describe, read and write it, and read as groups that begin with its name"
        )
    return ClusterError(f"{PREFIX}KAFKA: the cluster at {brokers} refused: {type(error).__name__}: {error}")


def _partitions(cluster: Cluster, settings: Settings) -> int | None:
    """Return how many partitions the topic has, None where there is no topic."""
    (found,) = cluster.describe_topics([settings.kafka_topic])
    refused = errors.for_code(found["error_code"])
    if refused is errors.UnknownTopicOrPartitionError:
        return None
    if refused is not errors.NoError:
        raise refused(settings.kafka_topic)
    return len(found["partitions"])


def _make(cluster: Cluster, settings: Settings) -> bool:
    wanted = {
        "num_partitions": settings.kafka_partitions,
        "replication_factor": settings.kafka_replication,
        "configs": dict(_configured(settings)),
    }
    try:
        cluster.create_topics({settings.kafka_topic: wanted})
    except errors.TopicAlreadyExistsError:
        return False
    except errors.InvalidReplicationFactorError:
        raise ClusterError(
            f"{PREFIX}KAFKA_REPLICATION: {settings.kafka_replication}, but the cluster has fewer brokers"
        ) from None
    except FORBIDDEN as error:
        raise TopicMissing(
            f"{PREFIX}KAFKA_TOPIC: the cluster does not have {settings.kafka_topic}, and does not let us "
            f"make it ({type(error).__name__}): create it with {_wanted_in_words(settings)}"
        ) from None
    cluster.wait_for_topics([settings.kafka_topic], timeout_ms=READY_WITHIN_MS)
    return True


def _check(cluster: Cluster, settings: Settings) -> None:
    name = settings.kafka_topic
    partitions = _partitions(cluster, settings)
    if partitions is None:
        raise TopicMissing(
            f"{PREFIX}KAFKA_TOPIC: the cluster does not have {name}: run `ticketing migrate`, "
            f"or create it with {_wanted_in_words(settings)}"
        )
    if partitions != settings.kafka_partitions:
        raise ClusterError(
            f"{PREFIX}KAFKA_PARTITIONS: {settings.kafka_partitions}, but the cluster's topic {name} has "
            f"{partitions}: delete it, and `ticketing migrate` makes it anew"
        )
    policy = _cleanup_policy(cluster, name)
    if "compact" in policy:
        raise ClusterError(
            f"{PREFIX}KAFKA_TOPIC: {name} has cleanup.policy={policy}, which drops events: "
            "set cleanup.policy=delete"
        )


def _cleanup_policy(cluster: Cluster, name: str) -> str:
    """Return the topic's policy; nothing where we are not allowed to see it."""
    asked = ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": ""})
    try:
        told = cluster.describe_configs([asked], config_filter="all")
    except FORBIDDEN:
        return ""
    return str(told["topic"][name].get("cleanup.policy", {}).get("value", ""))


def _configured(settings: Settings) -> Mapping[str, str]:
    retention_ms = settings.kafka_retention_hours * HOUR_MS
    return {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}


def _wanted_in_words(settings: Settings) -> str:
    configs: dict[str, Any] = {**_configured(settings)}
    return f"{settings.kafka_partitions} partitions, " + ", ".join(
        f"{name}={configs[name]}" for name in configs
    )
