"""What kafka-python is told: all that the settings say, and nothing that would have no effect."""

import gc
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaTimeoutError
from pydantic import SecretStr

from infrastructure.kafka_client import client_options, last_words, open_client
from infrastructure.settings import Settings, SettingsError

BROKERS = ("one:9092", "other:9093")
USER = {"kafka_sasl_mechanism": "scram-sha-512", "kafka_sasl_username": "relay"}
PASSWORD = {"kafka_sasl_password": SecretStr("very-private")}


def options(**settings: Any) -> Mapping[str, Any]:
    told = client_options(Settings(kafka=BROKERS, **settings))
    return {name: value for name, value in told.items() if not name.endswith("_ms")}


def test_brokers_in_the_same_network_are_named() -> None:
    assert options() == {"bootstrap_servers": ["one:9092", "other:9093"], "security_protocol": "PLAINTEXT"}


def test_those_of_a_provider_are_shown_who_we_are_over_tls() -> None:
    told = options(
        kafka_security_protocol="sasl_ssl",
        **USER,
        **PASSWORD,
        kafka_tls_ca=__file__,
        kafka_tls_cert=__file__,
        kafka_tls_key=__file__,
    )
    assert told == {
        "bootstrap_servers": ["one:9092", "other:9093"],
        "security_protocol": "SASL_SSL",
        "ssl_cafile": __file__,
        "ssl_certfile": __file__,
        "ssl_keyfile": __file__,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "relay",
        "sasl_plain_password": "very-private",
    }


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"kafka_security_protocol": "sasl_ssl"},
            "KAFKA_SASL_MECHANISM, TICKETING_KAFKA_SASL_USERNAME, TICKETING_KAFKA_SASL_PASSWORD: missing",
        ),
        ({"kafka_security_protocol": "sasl_plaintext", **USER}, "KAFKA_SASL_PASSWORD: missing, while"),
        (
            PASSWORD,
            "KAFKA_SECURITY_PROTOCOL: plaintext, with which TICKETING_KAFKA_SASL_PASSWORD has no effect",
        ),
        (
            {"kafka_tls_ca": __file__},
            "KAFKA_SECURITY_PROTOCOL: plaintext, with which TICKETING_KAFKA_TLS_… has",
        ),
        ({"kafka_security_protocol": "ssl", "kafka_tls_cert": __file__}, "KAFKA_TLS_KEY: missing, while"),
        ({"kafka_security_protocol": "ssl", "kafka_tls_key": __file__}, "KAFKA_TLS_CERT: missing, while"),
    ],
)
def test_what_is_missing_or_in_vain_is_named_in_one_line(settings: Mapping[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        options(**settings)
    assert str(refused.value).startswith(f"TICKETING_{line}")
    assert "private" not in str(refused.value)


def test_without_kafka_there_is_nothing_to_say() -> None:
    with pytest.raises(SettingsError, match=r"^TICKETING_KAFKA: missing"):
        client_options(Settings())


def test_a_client_that_reaches_nobody_leaves_nothing_behind(
    unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("kafka"), "propagate", False)  # pytest keeps what they speak of
    threads, files = set(threading.enumerate()), open_files()
    with last_words() as words:
        for kind in (KafkaAdminClient, KafkaConsumer, KafkaProducer):
            with pytest.raises(KafkaTimeoutError):
                open_client(
                    kind, {"bootstrap_servers": f"127.0.0.1:{unused_port}", "bootstrap_timeout_ms": 200}
                )
    assert "ECONNREFUSED" in words.text
    assert set(threading.enumerate()) <= threads, "those of other tests may end meanwhile"
    assert open_files() <= files


def open_files() -> int:
    gc.collect()  # the library leaves its failed sockets to it
    return len(list(Path("/proc/self/fd").iterdir()))
