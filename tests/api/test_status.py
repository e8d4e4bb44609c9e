"""Whether the service is alive, whether it can serve, and what it measures."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection
from psycopg.types.json import Jsonb

from infrastructure.codec import read_form
from projections.registry import PROJECTIONS
from tests.api.conftest import Start
from tests.api.grammar import Api, Then, someone, until
from tests.api.metrics import samples
from tests.projections.partitioned import NAME, PARTITIONS, publish, register

TELL = """
    INSERT INTO ticketing.worker_status (role, process_id, beat_at, facts)
    VALUES ('timer', %s, clock_timestamp() - make_interval(secs => %s), %s)
"""

GAP = "SELECT setval('ticketing.ticketing_events_notification_id_seq', 2000000000000000, false)"

RECORDED_AFTER = "SELECT count(*) FROM ticketing.ticketing_events WHERE notification_id > %s"

RECORDED = "SELECT state FROM ticketing.ticketing_events WHERE notification_id = %s"


def until_shown(api: Api, position: int) -> Then:
    """Wait until all read models show the log up to this position."""
    return until(
        lambda: api.when("GET", "/readyz"),
        lambda then: min(then.json["read_models"].values()) >= position,
    )


def test_it_is_alive_and_ready(api: Api) -> None:
    api.when("GET", "/healthz").then(200, {"status": "alive"})
    seen = api.given_concert().when_admin("POST", "/sales/open").position
    ready = until_shown(api, seen).then(200)
    assert ready.json["position"] >= seen
    assert set(ready.json["read_models"]) == {projection.name for projection in PROJECTIONS}


def test_a_read_model_that_is_behind_at_the_start_makes_it_unready(start: Start) -> None:
    first = start()
    with first.service.without_projector():
        seen = first.given_concert().when_admin("POST", "/sales/open").position
        second = start(projects=False, waits=False)
        until(lambda: second.when("GET", "/readyz"), lambda then: then.json["code"] == "READ_MODEL_BEHIND")
        first.when("GET", "/readyz").then(200, position=seen)
    until(lambda: second.when("GET", "/readyz"), lambda then: then.status == 200)


def test_the_metrics_tell_of_commands_requests_and_lines(api: Api) -> None:
    sale = api.given_sale(max_active=1)
    ann = sale.given_inside()
    sale.given_waiting()
    ben = sale.given_waiting()
    ben.when_leaving().then_nothing()
    ann.when_reserving(51).then_refused("SEAT_NOT_FOUND", seat_numbers=[51])
    api.when("PROPFIND", "/api/v1/coffee").then_refused("NOT_FOUND")
    ben.when_asking().then(200)
    told = samples(api)
    assert told["ticketing_commands_total", "JoinQueue", "OK"] >= 3
    assert told["ticketing_commands_total", "Reserve", "SEAT_NOT_FOUND"] >= 1
    assert told["ticketing_batch_commands_count",] > 0
    assert told["ticketing_batch_events_sum",] > 0
    assert told["ticketing_append_seconds_count",] > 0
    assert told["ticketing_append_conflicts_total",] >= 0
    assert told["ticketing_queue_depth", sale.code] == 1
    assert told["ticketing_queue_active", sale.code] == 1
    assert ("ticketing_feed_lag_events", "queue") in told
    route = "/api/v1/concerts/{code}/token"
    assert told["ticketing_http_request_seconds_count", *sorted(("201", "POST", route))] >= 3
    assert told["ticketing_http_request_seconds_count", "404", "other", "other"] >= 1
    assert "PROPFIND" not in str(told)


def test_the_metrics_tell_what_workers_tell_while_they_live(start: Start) -> None:
    api = start()
    with psycopg.connect(api.service.dsn, autocommit=True) as connection:
        for age_s, facts in (
            (0, {"lateness_s": 0.5, "leads": True}),
            (1, {"lateness_s": None, "leads": False}),
            (30, {"lateness_s": 99}),
        ):
            connection.execute(TELL, [uuid4(), age_s, Jsonb(facts)])
        told = samples(api)
        assert told["ticketing_worker", "lateness_s", "timer"] == 0.5
        assert told["ticketing_worker", "leads", "timer"] == 1
        connection.execute("DELETE FROM ticketing.worker_status")
        assert not [sample for sample in samples(api) if sample[0] == "ticketing_worker"]


def test_how_far_behind_the_topic_is_is_told_and_does_not_make_it_unready(
    start: Start, connection: Connection[Any]
) -> None:
    register(connection)
    api = start()
    assert "topic" in api.when("GET", "/readyz").then(200).json
    seen = api.given_concert().when_admin("POST", "/sales/open").position
    until_shown(api, seen)
    publish(connection, seen - 2)

    ready = api.when("GET", "/readyz").then(200).json
    told = samples(api)

    topic = ready["topic"]
    assert (topic["name"], topic["position"], topic["behind"]["events"]) == (NAME, seen - 2, 2)
    assert topic["behind"]["seconds"] > 0
    assert told["ticketing_log_position",] == seen
    assert told["ticketing_topic_position", NAME] == seen - 2
    assert told["ticketing_relay_lag_events", NAME] == 2
    assert 0 < told["ticketing_relay_lag_seconds", NAME] < 60
    assert [told["ticketing_partition_position", str(one)] for one in range(PARTITIONS)] == [seen] * 4
    assert told["ticketing_feed_lag_events", "queue"] == told["ticketing_feed_lag_seconds", "queue"] == 0


def test_how_far_behind_read_models_are_is_told_in_events_and_seconds(
    start: Start, connection: Connection[Any]
) -> None:
    """Events are counted: where a restored log goes on, positions leave a gap of years."""
    api = start()
    seen = api.given_concert().when_admin("POST", "/sales/open").position
    until_shown(api, seen)
    with api.service.without_projector():
        connection.execute(GAP)
        api.when("POST", "/api/v1/users", {}).then(201)
        told, ready = samples(api), api.when("GET", "/readyz").then(200).json
    assert told["ticketing_log_position",] > seen + 10**15
    (recorded,) = connection.execute(RECORDED_AFTER, [seen]).fetchone() or (0,)
    assert told["ticketing_feed_lag_events", "queue"] == recorded > 0
    assert 0 < told["ticketing_feed_lag_seconds", "queue"] < 60
    assert ready["behind"]["queue"]["events"] == recorded
    assert ready["behind"]["queue"]["seconds"] > 0
    assert ready["topic"] is None
    assert not [sample for sample in told if "topic" in sample[0] or "partition" in sample[0]]


def test_answers_are_not_kept_by_caches(api: Api) -> None:
    assert api.when("GET", "/healthz").headers["cache-control"] == "no-store"
    assert api.when("GET", "/healthz").headers["x-content-type-options"] == "nosniff"


def test_a_request_id_is_given_or_taken_over(api: Api) -> None:
    sent = "2ca587d1-670e-4066-a42e-cac8f6bc4a1a"
    taken = api.when("GET", "/healthz", headers={"x-request-id": sent.upper()})
    assert taken.headers["x-request-id"] == sent
    for wrong in ("", "no id", "2ca587d1\xff"):
        given = api.when("GET", "/healthz", headers={"x-request-id": wrong.encode("latin-1")})
        assert given.headers["x-request-id"] not in (sent, wrong)


def test_a_request_id_is_the_causation_of_what_is_recorded(api: Api) -> None:
    sent = someone()
    registered = api.when("POST", "/api/v1/users", {}, headers={"x-request-id": sent}).then(201)
    with psycopg.connect(api.service.dsn) as connection:
        (state,) = connection.execute(RECORDED, [registered.position]).fetchone() or (b"",)
    assert read_form(state).causation_id == UUID(sent)
