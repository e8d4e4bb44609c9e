"""What the service tells about itself: structured logs, and metrics for Prometheus."""

import logging
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.typing import Processor

from aggregates.errors import DomainError
from commands.command import Command
from infrastructure.lag import Standings
from projections.dead_letters import Parked

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048)


class Lossy:
    """A stream for what is logged: a line that cannot be written, since a disk is full, is lost.

    Nothing else fails for it: what the line tells of goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it, or lose it."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Have it written, or lose it."""
        with suppress(OSError):
            self._stream.flush()


def configure_logging(level: str, form: Literal["text", "json"]) -> None:
    """Write one line per event to standard error, for people or as JSON; libraries' messages too.

    But not kafka-python's, many lines a second while no broker answers: what was wrong is said with our own
    words. Those who log everything see all of it.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = Lossy(sys.stderr)
    renderer: Processor = structlog.processors.JSONRenderer()
    if form == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", lines)),
        cache_logger_on_first_use=True,
    )
    of_libraries = logging.StreamHandler(lines)
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=number, handlers=[of_libraries], force=True)
    logging.getLogger("kafka").propagate = number <= logging.DEBUG


class CommandMetrics:
    """Counts what the command bus does. See `commands.bus.BusObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._commands = Counter(
            "ticketing_commands_total",
            "Commands answered, by name and outcome (OK or the code of the refusal).",
            ["command", "outcome"],
            registry=registry,
        )
        self._conflicts = Counter(
            "ticketing_append_conflicts_total",
            "Batches decided anew because someone else had appended.",
            registry=registry,
        )
        self._batch_commands = Histogram(
            "ticketing_batch_commands", "Commands per batch.", buckets=SIZES, registry=registry
        )
        self._batch_events = Histogram(
            "ticketing_batch_events", "Events per batch.", buckets=SIZES, registry=registry
        )
        self._append_seconds = Histogram(
            "ticketing_append_seconds",
            "From taking the append lock to the commit.",
            buckets=SECONDS,
            registry=registry,
        )
        self._counters: dict[tuple[type[Command], str], Counter] = {}

    def decided(self, command: Command, outcome: Any) -> None:
        """Count a command by its name and outcome."""
        label = "OK"
        if isinstance(outcome, Exception):
            label = outcome.code if isinstance(outcome, DomainError) else "INTERNAL_ERROR"
        key = (type(command), label)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._commands.labels(type(command).__name__, label)
            self._counters[key] = counter
        counter.inc()

    def appended(self, commands: int, events: int, seconds: float) -> None:
        """Record a batch's size and how long its append took."""
        self._batch_commands.observe(commands)
        self._batch_events.observe(events)
        self._append_seconds.observe(seconds)

    def conflicted(self) -> None:
        """Count a batch that is decided anew."""
        self._conflicts.inc()


class HttpMetrics:
    """Counts requests by route, method and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "ticketing_http_request_seconds",
            "How long requests took, by route, method and status.",
            ["route", "method", "status"],
            buckets=SECONDS,
            registry=registry,
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record one answer."""
        key = (route, method, status)
        child = self._children.get(key)
        if child is None:
            child = self._seconds.labels(route, method, str(status))
            self._children[key] = child
        child.observe(seconds)


class SaleMetrics:
    """Gauges of what the read models and workers say when metrics are asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._log_position = Gauge(
            "ticketing_log_position", "The position of the last event in the log.", registry=registry
        )
        self._feed_lag_events = Gauge(
            "ticketing_feed_lag_events",
            "Events that stand behind the position that a projection shows.",
            ["projection"],
            registry=registry,
        )
        self._feed_lag_seconds = Gauge(
            "ticketing_feed_lag_seconds",
            "How old the first of them is.",
            ["projection"],
            registry=registry,
        )
        self._partition_position = Gauge(
            "ticketing_partition_position",
            "Up to which position of the log all projections show a partition of the topic.",
            ["partition"],
            registry=registry,
        )
        self._topic_position = Gauge(
            "ticketing_topic_position",
            "Up to which position the log is on the topic.",
            ["topic"],
            registry=registry,
        )
        self._relay_lag_events = Gauge(
            "ticketing_relay_lag_events",
            "Events that are not on the topic yet.",
            ["topic"],
            registry=registry,
        )
        self._relay_lag_seconds = Gauge(
            "ticketing_relay_lag_seconds",
            "How old the first of them is.",
            ["topic"],
            registry=registry,
        )
        self._parked_events = Gauge(
            "ticketing_parked_events",
            "Events that a projection has passed over, since it could not apply them.",
            ["projection"],
            registry=registry,
        )
        self._parked_seconds = Gauge(
            "ticketing_parked_seconds",
            "How long ago the first of them was parked.",
            ["projection"],
            registry=registry,
        )
        self._workers = Gauge(
            "ticketing_worker",
            "What workers tell, such as the timer's lateness in seconds; of several the largest.",
            ["role", "fact"],
            registry=registry,
        )
        self.queue_depth = Gauge(
            "ticketing_queue_depth", "Users waiting, by concert.", ["concert"], registry=registry
        )
        self.queue_active = Gauge(
            "ticketing_queue_active", "Active tokens, by concert.", ["concert"], registry=registry
        )

    def followed(self, standings: Standings) -> None:
        """Take over how far the log has been followed; of partitions only where there is a topic."""
        self._log_position.set(standings.log_position)
        for one in standings.read_models:
            self._feed_lag_events.labels(one.name).set(one.behind.events)
            self._feed_lag_seconds.labels(one.name).set(one.behind.seconds)
        topic = standings.topic
        if topic is not None:
            self._topic_position.labels(topic.name).set(topic.position)
            self._relay_lag_events.labels(topic.name).set(topic.behind.events)
            self._relay_lag_seconds.labels(topic.name).set(topic.behind.seconds)
            checkpoints = zip(*(one.checkpoints for one in standings.read_models), strict=True)
            for partition, positions in enumerate(checkpoints):
                self._partition_position.labels(str(partition)).set(min(positions))

    def parked(self, parked: Iterable[Parked]) -> None:
        """Take over what projections have parked now."""
        self._parked_events.clear()
        self._parked_seconds.clear()
        for one in parked:
            self._parked_events.labels(one.projection).set(one.events)
            self._parked_seconds.labels(one.projection).set(one.oldest_s)

    def workers(self, told: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Take over the numbers that workers tell, by role: of several the largest, of none nothing."""
        largest: dict[tuple[str, str], float] = {}
        for role, facts in told:
            for fact, value in facts.items():
                if isinstance(value, int | float):
                    largest[role, fact] = max(value, largest.get((role, fact), value))
        self._workers.clear()
        for (role, fact), value in largest.items():
            self._workers.labels(role, fact).set(value)
