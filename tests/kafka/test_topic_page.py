"""docs/reference/topic.md: its consumer and its query, run as they stand there, and its table of headers."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Final

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infrastructure import epochs, topic
from infrastructure.asyncapi import HEADERS
from infrastructure.settings import Settings
from tests.audit.database import store
from tests.audit.sales import a_strict_sale
from tests.contracts.markdown import DOCS, table_rows
from tests.kafka.test_topic import PARTITIONS, busiest, published, relay_all, rows
from tests.kafka.topic_check import Received, read_log, read_topic

PAGE: Final = "reference/topic.md"
WAIT_S: Final = 30.0


def block(name: str) -> str:
    """The piece of code of this name."""
    (found,) = re.findall(rf"<!-- {name} -->\n```\w+\n(.*?)```", (DOCS / PAGE).read_text(), re.DOTALL)
    return str(found)


def publish(kafka: str, topic_name: str, messages: Sequence[Received]) -> None:
    """Have these stand on a new topic."""
    admin = AdminClient({"bootstrap.servers": kafka})
    for made in admin.create_topics([NewTopic(topic_name, PARTITIONS, 1)]).values():
        made.result(WAIT_S)
    producer = Producer({"bootstrap.servers": kafka})
    for one in messages:
        producer.produce(topic_name, one.value, one.key, one.partition, headers=list(one.headers))
    assert producer.flush(WAIT_S) == 0


@contextmanager
def running(script: Path, *arguments: str) -> Iterator["Queue[str]"]:
    """Run the script; what it says comes line by line."""
    said: Queue[str] = Queue()
    with subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True) as process:
        listening = Thread(target=listen, args=[process.stdout, said])
        listening.start()
        try:
            yield said
        finally:
            process.kill()
            listening.join()


def listen(lines: Iterable[str], said: "Queue[str]") -> None:
    """Pass on what is said, until nothing more is."""
    for line in lines:
        said.put(line.rstrip("\n"))


def test_the_page_lists_every_header() -> None:
    assert [name.strip("`") for name, _ in table_rows(PAGE, "header", "says")] == list(HEADERS)


def test_the_consumer_is_short() -> None:
    assert len([line for line in block("consumer").splitlines() if line]) <= 20


def test_the_consumer_recognises_repeats_and_holes(tmp_path: Path, kafka: str, topic_name: str) -> None:
    found = published(rows())
    messages = busiest(found)
    missing = messages.pop(6)
    messages[4:4] = messages[2:4]
    everything = [one for several in found.values() for one in several]
    publish(kafka, topic_name, everything)
    (tmp_path / "consumer.py").write_text(block("consumer"))

    with running(tmp_path / "consumer.py", kafka, topic_name, f"{topic_name}.readers") as said:
        lines = [said.get(timeout=WAIT_S) for _ in range(len(everything) + 1)]

    repeats = [line for line in lines if line.startswith("repeat")]
    assert repeats == [f"repeat {one.words['ce_id']}" for one in messages[2:4]]
    before = messages[7]
    assert [line for line in lines if line.startswith("hole")] == [
        f"hole {before.partition} {before.position} {missing.position}"
    ]
    told = [line.split()[1] for line in lines if line.startswith("event")]
    assert sorted(told) == sorted({one.words["ce_id"] for one in everything})


def test_the_query_finds_what_is_missing(dsn: str, connection: psycopg.Connection[Any]) -> None:
    store(dsn, a_strict_sale().rows())
    messages = busiest(published(rows()))
    last, missing = messages[5], messages[6]
    query = block("hole").replace(":last", str(last.position)).replace(":previous", str(missing.position))
    found = connection.execute(query.encode()).fetchall()
    of_partition = {one.position for one in messages}
    (position, version, topic, event) = next(row for row in found if row[0] in of_partition)
    assert (position, version, topic) == (
        missing.position,
        int(missing.words["ce_streamversion"]),
        missing.words["ce_type"],
    )
    assert event["stream"] == missing.words["ce_subject"]
    assert event["partition_key"].encode() == missing.key


def test_what_a_restore_has_lost_shows_in_the_next_message_of_each_partition(
    dsn: str, connection: psycopg.Connection[Any], kafka: str, topic_name: str
) -> None:
    """The half of a log is lost; the same things happen again."""
    log = a_strict_sale().rows()
    store(dsn, log)
    settings = Settings(kafka=(kafka,), kafka_topic=topic_name, kafka_partitions=PARTITIONS)
    topic.register(dsn, settings)
    asyncio.run(relay_all(dsn, settings, read_log(dsn)[-1].position))
    kept = log[len(log) // 2][0]
    connection.execute("DELETE FROM ticketing.ticketing_events WHERE notification_id > %s", [kept])
    begun = epochs.settle(dsn, restored=True)
    assert begun is not None
    store(dsn, [(begun.first_position + row[0], *row[1:]) for row in log if row[0] > kept])
    asyncio.run(relay_all(dsn, settings, read_log(dsn)[-1].position))

    partitions_with_losses = 0
    for messages in read_topic(kafka, topic_name).values():
        old = [one for one in messages if one.words["ce_epoch"] != str(begun.epoch)]
        new = [one for one in messages if one.words["ce_epoch"] == str(begun.epoch)]
        assert messages == [*old, *new]
        lost = [one.position for one in old if one.position > kept]
        if new and lost:
            partitions_with_losses += 1
            previous, last = int(new[0].words["ce_previousposition"]), old[-1].position
            assert previous < last < new[0].position
            assert [one.position for one in old if previous < one.position <= last] == lost
    assert partitions_with_losses > 1


@pytest.mark.parametrize("field", ["stream", "partition_key", "recorded_at", "payload"])
def test_the_page_names_what_a_stored_event_holds(field: str) -> None:
    assert f"`{field}`" in (DOCS / PAGE).read_text()
