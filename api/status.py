"""Whether the service is alive, whether it can serve, and what it measures."""

from contextlib import suppress
from datetime import timedelta

from prometheus_client import generate_latest

from api.call import Call, Reply, json_reply
from api.endpoint import Operation
from api.services import Services
from api.views import BehindView, Health, Ready, TopicView
from commands.errors import StoreUnavailable
from infrastructure import lag, worker_status
from projections import dead_letters

WORKER_GONE_AFTER = timedelta(seconds=10)
"""Workers tell how they do once a second; one that has not for so long is gone or stuck."""

PROMETHEUS_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


async def healthz(_call: Call[None, None]) -> Reply:
    """Answer as long as the process runs."""
    return json_reply(200, Health("alive"))


async def readyz(call: Call[None, None]) -> Reply:
    """Answer 200 if the store is in reach, and the read models have caught up since the start."""
    services = call.services
    standings = await services.read_models.read(lag.standings)
    services.readiness.check(standings.log_position, services.board, services.hearing)
    parked = await services.read_models.read(dead_letters.count)
    ready = Ready(
        standings.log_position,
        dict(services.board.positions),
        {projection: one.events for projection, one in parked.items()},
        {one.name: _behind(one.behind) for one in standings.read_models},
        None if standings.topic is None else _topic(standings.topic),
    )
    return json_reply(200, ready)


def _behind(behind: lag.Behind) -> BehindView:
    return BehindView(behind.events, behind.seconds)


def _topic(topic: lag.TopicStanding) -> TopicView:
    return TopicView(topic.name, topic.position, _behind(topic.behind))


async def metrics(call: Call[None, None]) -> Reply:
    """Answer with what is measured, for Prometheus; while the store is out of reach, with what is known."""
    services = call.services
    for line in services.board.lines():
        services.sale_metrics.queue_depth.labels(line.code).set(line.waiting - len(line.left))
        services.sale_metrics.queue_active.labels(line.code).set(line.active)
    with suppress(StoreUnavailable):
        await _measure_followers(services)
    return Reply(200, generate_latest(services.registry))


async def _measure_followers(services: Services) -> None:
    services.sale_metrics.followed(await services.read_models.read(lag.standings))
    services.sale_metrics.parked((await services.read_models.read(dead_letters.count)).values())
    workers = await services.read_models.read(worker_status.worker_statuses)
    services.sale_metrics.workers(
        (worker.role, worker.facts) for worker in workers if worker.age < WORKER_GONE_AFTER
    )


OPERATIONS = [
    Operation("GET", "/healthz", "Is the process alive?", healthz, {200: Health}),
    Operation(
        "GET",
        "/readyz",
        "Can calls be served?",
        readyz,
        {200: Ready},
        errors=("READ_MODEL_BEHIND", "STORE_UNAVAILABLE"),
    ),
    Operation(
        "GET",
        "/metrics",
        "What is measured",
        metrics,
        {200: str},
        content_type=PROMETHEUS_TYPE,
    ),
]
