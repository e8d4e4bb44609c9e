"""How our processes speak to Kafka: what kafka-python is told, as the settings say."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from infrastructure.settings import PREFIX, Settings, SettingsError

BOOTSTRAP_TIMEOUT_MS = 3_000
"""A broker answers within milliseconds; who waits for one that does not has something else to do."""

RECONNECT_BACKOFF_MAX_MS = 1_000
"""After an outage of any length all goes on within a second or so."""

LOST = "Connection lost: "
"""After this kafka-python says what is wrong with a connection."""

REFUSED = "SaslAuthenticationFailedError"
"""What it says of wrong credentials, unless it sees first that the broker has hung up."""

Client = TypeVar("Client")


class LastWords(logging.Handler):
    """Keeps what was wrong with the last connection that was lost."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""
        self.refused = False
        """Whether a broker has refused our credentials."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        _, lost, reason = record.getMessage().partition(LOST)
        if lost:
            self.text = reason
            self.refused |= REFUSED in reason


@contextmanager
def last_words() -> Iterator[LastWords]:
    """Listen to what kafka-python says of lost connections, so that we can say what was wrong."""
    library, words = logging.getLogger("kafka"), LastWords()
    library.addHandler(words)
    try:
        yield words
    finally:
        library.removeHandler(words)


def open_client(kind: Callable[..., Client], options: Mapping[str, Any]) -> Client:
    """Open a consumer, a producer or an admin client of kafka-python, with the options of its own.

    One that fails leaves neither threads nor sockets behind, as the library's own do. And none has the broker
    make a topic that is not there, with however many partitions: the library says that it may, whatever its
    option `allow_auto_create_topics` says. Raises kafka-python's errors.
    """
    from kafka.net.compat import KafkaNetClient  # noqa: PLC0415 (who has no Kafka does not wait for it)

    opened: list[KafkaNetClient] = []

    def connecting(**configs: Any) -> KafkaNetClient:
        client = KafkaNetClient(**configs)
        client.cluster.config["allow_auto_create_topics"] = False
        opened.append(client)
        return client

    try:
        return kind(**options, kafka_client=connecting)
    except BaseException:
        for client in opened:
            client.close()
        raise


def client_options(settings: Settings) -> Mapping[str, Any]:
    """Return what every client is told: where the brokers are, and how they are spoken to.

    Raises SettingsError where the settings are not enough, or say what would have no effect.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.required_kafka),
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
        "security_protocol": settings.kafka_security_protocol.upper(),
    }
    return {**options, **_tls_options(settings), **_sasl_options(settings)}


def _tls_options(settings: Settings) -> Mapping[str, Any]:
    if (settings.kafka_tls_cert is None) != (settings.kafka_tls_key is None):
        missing, given = ("CERT", "KEY") if settings.kafka_tls_cert is None else ("KEY", "CERT")
        raise SettingsError(f"{PREFIX}KAFKA_TLS_{missing}: missing, while {PREFIX}KAFKA_TLS_{given} is set")
    files = {
        "ssl_cafile": settings.kafka_tls_ca,
        "ssl_certfile": settings.kafka_tls_cert,
        "ssl_keyfile": settings.kafka_tls_key,
    }
    given_files = {name: str(file) for name, file in files.items() if file is not None}
    if given_files and not settings.kafka_security_protocol.endswith("ssl"):
        raise SettingsError(
            f"{PREFIX}KAFKA_SECURITY_PROTOCOL: {settings.kafka_security_protocol}, with which "
            f"{PREFIX}KAFKA_TLS_… has no effect; set ssl or sasl_ssl"
        )
    return given_files


def _sasl_options(settings: Settings) -> Mapping[str, Any]:
    given = {
        "MECHANISM": settings.kafka_sasl_mechanism,
        "USERNAME": settings.kafka_sasl_username,
        "PASSWORD": settings.kafka_sasl_password,
    }
    if not settings.kafka_security_protocol.startswith("sasl"):
        for name, value in given.items():
            if value is not None:
                raise SettingsError(
                    f"{PREFIX}KAFKA_SECURITY_PROTOCOL: {settings.kafka_security_protocol}, with which "
                    f"{PREFIX}KAFKA_SASL_{name} has no effect; set sasl_ssl or sasl_plaintext"
                )
        return {}
    mechanism, password = settings.kafka_sasl_mechanism, settings.kafka_sasl_password
    if mechanism is None or password is None or settings.kafka_sasl_username is None:
        missing = ", ".join(f"{PREFIX}KAFKA_SASL_{name}" for name, value in given.items() if value is None)
        raise SettingsError(
            f"{missing}: missing, while {PREFIX}KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}"
        )
    return {
        "sasl_mechanism": mechanism.upper(),
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": password.get_secret_value(),
    }
