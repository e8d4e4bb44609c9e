"""Publishing messages to the topic, in their order, so that nothing overtakes one that failed.

kafka-python's idempotent producer keeps the order as long as nothing fails. What fails takes its sequence
number with it, and what waits behind it would be sent under a new one. So a producer is thrown away with the
first message that fails, in the very thread that would send the next; whoever publishes begins anew, from
what is known to have arrived.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError

from infrastructure.kafka_client import open_client
from infrastructure.messages import Message

ACKNOWLEDGED_WITHIN_S = 10.0
"""A batch takes milliseconds. A broker that comes back sooner is waited for."""

LOOK_EVERY_S = 1.0
"""How often to see, while waiting, whether the topic is still there."""

DELIVERY_TIMEOUT_MS = 24 * 3_600_000
"""The library's own deadline lets what waits behind a message go on without it: ours must come first."""

REQUEST_TIMEOUT_MS = 5_000
METADATA_WITHIN_MS = 5_000

BATCH_BYTES = 900 * 1024
"""Of one partition, at a time; less than what brokers take at once unless told otherwise (1 MiB)."""

MESSAGE_BYTES_MAX = 2**31 - 1
"""How large a message may be is for the cluster to say."""

LINGER_MS = 50
"""Two threads that take turns take twice as long: all is prepared before the first of it is sent."""

THREAD_ENDS_WITHIN_S = 5.0


class NotPublished(Exception):
    """Some messages have not been acknowledged, and may or may not be on the topic."""

    def __init__(self, reason: str, message: Message | None = None) -> None:
        super().__init__(reason)
        self.message = message
        """The first that was refused, None where nobody answered."""


class _Refusal(NamedTuple):
    message: Message
    error: Exception


class Publisher:
    """A producer for one topic; what it does blocks, so it is used from threads."""

    def __init__(self, topic: str, options: Mapping[str, Any]) -> None:
        """`options` say where the brokers are."""
        self._topic = topic
        self._options = options
        self._refusal: _Refusal | None = None
        self._producer: Any = None
        self._opening = Lock()

    def open(self) -> None:
        """Connect. Raises KafkaError where no broker answers."""
        with self._opening:
            self._producer = open_client(
                KafkaProducer,
                {
                    **self._options,
                    "client_id": "ticketing-relay",
                    "acks": "all",
                    "enable_idempotence": True,
                    "delivery_timeout_ms": DELIVERY_TIMEOUT_MS,
                    "request_timeout_ms": REQUEST_TIMEOUT_MS,
                    "max_block_ms": METADATA_WITHIN_MS,
                    "batch_size": BATCH_BYTES,
                    "max_request_size": MESSAGE_BYTES_MAX,
                    "linger_ms": LINGER_MS,
                    "metrics_enabled": False,
                },
            )

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages in their order, and return when each has been acknowledged.

        Raises NotPublished; then nothing more can be published with this one.
        """
        deadline = time.monotonic() + ACKNOWLEDGED_WITHIN_S
        try:
            futures = [self._send(message) for message in messages]
            self._wait(deadline)
            for future in futures:
                future.get(timeout=max(0.0, deadline - time.monotonic()))
        except (KafkaError, ValueError, RuntimeError) as error:  # the last of a client that is closed
            self.give_up()
            raise self._why(error) from error

    def _wait(self, deadline: float) -> None:
        """Wait for what was sent, unless some of it is refused, or the topic is gone. Raises KafkaError."""
        while time.monotonic() < deadline and self._refusal is None:
            try:
                self._producer.flush(timeout=LOOK_EVERY_S)
                return
            except KafkaTimeoutError:
                known = self._producer._metadata  # noqa: SLF001 (whoever asks the producer waits for the topic)
                if known.partitions_for_topic(self._topic) is None:
                    raise UnknownTopicOrPartitionError(self._topic) from None
            except KafkaError:
                return  # it does not wait for what was sent in smaller parts after a refusal

    def give_up(self) -> None:
        """Send nothing more, from now on. It can be called from any thread, and does not block."""
        if self._producer is not None:
            self._producer._sender.force_close()  # noqa: SLF001 (`close` waits for what cannot be sent)

    def close(self) -> None:
        """Send nothing more, and wait until the producer's thread has ended."""
        with self._opening:
            if self._producer is None:
                return
        self.give_up()
        self._producer._sender.join(THREAD_ENDS_WITHIN_S)  # noqa: SLF001 (likewise)
        with suppress(KafkaError):
            self._producer.close(timeout=0)

    def _send(self, message: Message) -> Any:
        future = self._producer.send(
            self._topic,
            key=message.key,
            value=message.value,
            headers=message.headers,
            partition=message.partition,
        )
        return future.add_errback(self._refused, message)

    def _refused(self, message: Message, error: Exception) -> None:
        """Give up: called in the producer's thread, before it can send what stands behind the message."""
        if self._refusal is None:
            self._refusal = _Refusal(message, error)
            self.give_up()

    def _why(self, error: Exception) -> NotPublished:
        if self._refusal is None:
            return NotPublished(f"{type(error).__name__}: {error}")
        refused = self._refusal
        return NotPublished(f"{type(refused.error).__name__}: {refused.error}", refused.message)
