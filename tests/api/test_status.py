"""Whether the service is alive, whether it can serve, and what it measures."""

from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from infrastructure.codec import read_form
from projections.registry import PROJECTIONS
from tests.api.conftest import Start
from tests.api.grammar import Api, someone, until
from tests.api.metrics import samples

TELL = """
    INSERT INTO ticketing.worker_status (role, process_id, beat_at, facts)
    VALUES ('timer', %s, clock_timestamp() - make_interval(secs => %s), %s)
"""

RECORDED = "SELECT state FROM ticketing.ticketing_events WHERE notification_id = %s"


def test_it_is_alive_and_ready(api: Api) -> None:
    api.when("GET", "/healthz").then(200, {"status": "alive"})
    seen = api.given_concert().when_admin("POST", "/sales/open").position
    ready = until(
        lambda: api.when("GET", "/readyz"),
        lambda then: min(then.json["read_models"].values()) >= seen,
    ).then(200)
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
