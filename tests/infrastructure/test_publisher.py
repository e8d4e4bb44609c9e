"""Publishing: what a broker refuses is followed by nothing, whatever the library would do."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from kafka.structs import TopicPartition
from msgspec.structs import replace

from infrastructure import cluster, publisher
from infrastructure.kafka_client import client_options
from infrastructure.messages import Message, Place
from infrastructure.publisher import NotPublished, Publisher
from infrastructure.settings import Settings
from tests.infrastructure.test_messages import EPOCH, EXPIRED, published_as
from tests.infrastructure.topic_reader import on_topic


@pytest.fixture
def publishing(kafka: str, topic_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A publisher to one partition, that sends each message by itself."""
    monkeypatch.setattr(publisher, "BATCH_BYTES", 100)
    settings = Settings(kafka=(kafka,), kafka_topic=topic_name, kafka_partitions=1)
    cluster.ensure_topic(settings)
    publishing = Publisher(topic_name, client_options(settings))
    publishing.open()
    yield publishing
    publishing.close()


def messages() -> Sequence[Message]:
    return [
        published_as(replace(EXPIRED, position=number), Place(EPOCH, 0, number - 1)) for number in range(1, 9)
    ]


def test_messages_are_there_when_it_returns(publishing: Publisher, kafka: str, topic_name: str) -> None:
    publishing.publish(messages()[:3])
    publishing.publish(messages()[3:])
    assert [one.position for one in on_topic(kafka, topic_name)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_nothing_overtakes_what_is_refused(publishing: Publisher, kafka: str, topic_name: str) -> None:
    publishing.publish(messages()[:1])
    # As after a batch that was given up: the broker misses its sequence numbers. The library then goes on
    # with what follows, under a new epoch of its own.
    numbers = publishing._producer._transaction_manager
    numbers.set_sequence_number(TopicPartition(topic_name, 0), 50)

    with pytest.raises(NotPublished, match="OutOfOrderSequenceNumberError") as refused:
        publishing.publish(messages()[1:])

    publishing.close()
    assert refused.value.message == messages()[1]
    assert [one.position for one in on_topic(kafka, topic_name)] == [1]


def give_up_and_wait(publishing: Publisher) -> None:
    publishing.give_up()
    publishing._producer._sender.join()


@pytest.mark.parametrize(
    "ended",
    [Publisher.give_up, give_up_and_wait, Publisher.close],
    ids=["given up", "given up for long", "closed"],
)
def test_once_something_was_refused_nothing_can_be_published(
    publishing: Publisher, kafka: str, topic_name: str, ended: Callable[[Publisher], None]
) -> None:
    ended(publishing)
    with pytest.raises(NotPublished):
        publishing.publish(messages())
    publishing.close()
    assert on_topic(kafka, topic_name) == []
