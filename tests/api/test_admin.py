"""What operators do over HTTP: announce, schedule, run a sale, look into it, have the log audited."""

from typing import Any

import pytest

from aggregates import stream
from api.app import OPERATIONS
from api.endpoint import Access, Operation
from tests.api.conftest import Start
from tests.api.grammar import A_TIME, A_UUID, ADMIN, PRICE, SHOW_DAY, SHOW_TIME, Api, pages, someone, until
from tests.api.store import execute

ADMIN_OPERATIONS = [operation for operation in OPERATIONS if operation.access is Access.ADMIN]

ABANDONED = """
    INSERT INTO ticketing.audits (audit_id, requested_at, status, progress)
    VALUES (%s, clock_timestamp() - interval '1 minute', 'RUNNING', 0.5)
"""

POLICY = {
    "max_active": 100,
    "admit_per_interval": None,
    "admit_interval_s": 10,
    "admit_up_to_seats_left": True,
    "max_waiting": 1_000_000,
    "active_ttl_s": 600,
    "hold_ttl_s": 300,
    "max_seats_per_user": 4,
    "abandon_waiting_after_s": 600,
    "abandon_active_after_s": None,
    "abandon_after_disconnect_s": None,
    "on_insufficient_balance": "keep_hold",
    "charge_while_holding": True,
    "sales_open_at": None,
    "sales_close_at": None,
    "refund_until_s": 86_400,
}


def path_of(operation: Operation) -> str:
    """A path of the operation, about nothing that exists."""
    path = operation.path.replace("{code}", "NOWHERE").replace("{name:path}", "queue/NOWHERE")
    return path.replace("{audit_id}", someone())


@pytest.mark.parametrize("operation", ADMIN_OPERATIONS, ids=lambda operation: operation.summary)
def test_admin_calls_need_the_key_before_all_else(api: Api, operation: Operation) -> None:
    method, path = operation.method, path_of(operation)
    for authorization in (
        None, "", "Bearer", "Bearer the-admin-ke", "Bearer the-admin-key2", "Basic the-admin-key",
        "the-admin-key", "Bearer the admin key", "Bearer \xff",
    ):  # fmt: skip
        headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
        api.when(method, path, b"not JSON", headers=headers).then_refused("ADMIN_KEY_REQUIRED")


def test_a_queue_token_is_no_admin_key(api: Api) -> None:
    ann = api.given_sale().given_waiting()
    ann.when("GET", f"{ADMIN}/concerts/{ann.sale.code}/stats").then_refused("ADMIN_KEY_REQUIRED")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_the_key_is_read_in_any_case(api: Api, scheme: str) -> None:
    headers = {"authorization": f"{scheme} the-admin-key"}
    api.when("GET", f"{ADMIN}/concerts/NOWHERE/stats", headers=headers).then_refused("CONCERT_NOT_FOUND")


def test_without_a_key_there_are_no_admin_calls(start: Start) -> None:
    api = start(admin_key=None)
    for operation in ADMIN_OPERATIONS:
        api.when(operation.method, path_of(operation)).then_refused("NOT_FOUND")
        api.when(operation.method, path_of(operation), token="any").then_refused("NOT_FOUND")


def test_announcing_answers_with_the_whole_concert(api: Api) -> None:
    code = f"NEW-{someone()[:8].upper()}"
    wanted = {"code": code, "title": "Spring", "category": "CONCERT", "venue": "Hall"}
    announced = {**wanted, "description": "", "time_zone": "Asia/Seoul", "policy": POLICY}
    api.when_admin("POST", "/concerts", wanted).then(201, announced)
    api.when_admin("POST", "/concerts", wanted).then_refused("CONCERT_ALREADY_EXISTS")


def test_a_field_that_policies_do_not_have_is_refused_when_announcing_too(api: Api) -> None:
    wanted = {"code": "MISTYPED", "title": "T", "category": "C", "venue": "V", "policy": {"max_activ": 9}}
    error = {"field": "policy", "message": "Object contains unknown field `max_activ`"}
    api.when_admin("POST", "/concerts", wanted).then_refused("VALIDATION_FAILED", errors=[error])
    api.when("GET", "/api/v1/concerts/MISTYPED").then_refused("CONCERT_NOT_FOUND")


def test_the_times_of_a_policy_are_kept_in_utc(api: Api) -> None:
    sale = api.given_concert(sales_open_at="2096-03-01T10:00:00+09:00")
    (announced,) = (
        event
        for event in api.when_admin("GET", f"/streams/concert/{sale.code}").json["items"]
        if event["topic"] == "concert.announced"
    )
    assert announced["payload"]["policy"]["sales_open_at"] == "2096-03-01T01:00:00Z"
    early = {"sales_open_at": "0001-01-01T00:00:00+09:00"}
    wanted = {"code": "EARLY", "title": "T", "category": "C", "venue": "V", "policy": early}
    assert api.when_admin("POST", "/concerts", wanted).json["code"] == "VALIDATION_FAILED"


def test_scheduling_answers_with_the_performance(api: Api) -> None:
    sale = api.given_concert()
    blocks = [
        {"first": 1, "last": 2, "type": "VIP", "price": 200_000},
        {"first": 3, "last": 9, "type": "STANDARD", "price": 100_000},
    ]
    evening = {"date": "2096-04-01", "start_time": "19:00"}
    scheduled = {
        **evening,
        "concert_code": sale.code,
        "end_time": "21:30",
        "starts_at": "2096-04-01T10:00:00Z",
        "seats": blocks,
    }
    sale.when_admin("POST", "/performances", {**evening, "end_time": "21:30", "seats": blocks}).then(
        201, scheduled
    )
    sale.when_admin("POST", "/performances", evening).then_refused("PERFORMANCE_ALREADY_EXISTS")
    next_day = {"date": "2096-04-02", "start_time": "19:00"}
    sale.when_admin("POST", "/performances", {**next_day, "seats_from": evening}).then(201, seats=blocks)
    missing = {**next_day, "start_time": "20:00", "seats_from": {"date": "2096-05-01", "start_time": "19:00"}}
    sale.when_admin("POST", "/performances", missing).then_refused("PERFORMANCE_NOT_FOUND")
    default = [{"first": 1, "last": 50, "type": "STANDARD", "price": 100_000}]
    sale.when_admin("POST", "/performances", {**next_day, "start_time": "12:00"}).then(201, seats=default)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seats": [{"first": 2, "last": 3, "type": "A", "price": 1}]},
        {"seats": [{"first": 1, "last": 3, "type": "A", "price": -1}]},
        {"seats": [{"first": 1, "last": 100_001, "type": "A", "price": 1}]},
        {"seats": []},
        {"date": "0001-01-01", "start_time": "00:00"},
        {"date": "2096-02-30"},
        {"start_time": "24:00"},
        {"start_time": "19:00\n"},
        {"end_time": "7pm"},
    ],
)
def test_what_cannot_be_shown_is_not_scheduled(api: Api, wrong: dict[str, Any]) -> None:
    sale = api.given_concert()
    evening = {"date": "2096-04-01", "start_time": "19:00", **wrong}
    refused = sale.when_admin("POST", "/performances", evening)
    assert refused.json["code"] == "VALIDATION_FAILED"


def test_changing_the_policy_answers_with_the_whole_of_it(api: Api) -> None:
    sale = api.given_concert()
    changed = {**POLICY, "max_active": None, "hold_ttl_s": 60}
    sale.when_admin("PATCH", "/policy", {"max_active": None, "hold_ttl_s": 60}).then(200, changed)
    sale.when_admin("PATCH", "/policy", {}).then(200, changed)
    sale.when_admin("PATCH", "/policy", {"sales_open_at": "2096-01-01T09:00:00+09:00"}).then(
        200, {**changed, "sales_open_at": "2096-01-01T00:00:00Z"}
    )
    for wrong in ({"max_active": 0}, {"max_actives": 1}, {"hold_ttl_s": "60"}, {"sales_open_at": "now"}):
        assert sale.when_admin("PATCH", "/policy", wrong).json["code"] == "VALIDATION_FAILED"


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("/sales/open", {"sales": "OPEN", "queue": None}),
        ("/sales/close", {"sales": "CLOSED", "queue": None}),
        ("/queue/pause", {"sales": None, "queue": "PAUSED"}),
        ("/queue/resume", {"sales": None, "queue": "RUNNING"}),
    ],
)
def test_a_sale_is_run_by_switches(api: Api, path: str, state: dict[str, Any]) -> None:
    sale = api.given_sale()
    for _ in range(2):
        sale.when_admin("POST", path).then(200, {"code": sale.code, **state})
    api.when_admin("POST", f"/concerts/NOWHERE{path}").then_refused("CONCERT_NOT_FOUND")


def test_pausing_the_queue_stops_letting_in_and_nothing_else(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_holding(7, balance=PRICE)
    sale.when_admin("POST", "/queue/pause").then(200)
    ben = sale.given_inside()
    ben.when_asking().then(200, status="WAITING", sales="OPEN")
    ann.when_paying().then(201)
    sale.when_admin("POST", "/queue/resume").then(200)
    sale.let_in()
    ben.when_asking().then(200, status="ACTIVE")


def test_the_stats_count_everything(api: Api) -> None:
    sale = api.given_sale(max_active=2)
    sale.given_owner(1, 2)
    sale.given_holding(3)
    sale.given_inside().when_leaving().then_nothing()
    seen = sale.given_waiting().seen
    sale.when_admin("GET", "/stats", since=seen).then(
        200,
        {
            "waiting": 1,
            "active": 1,
            "completed": 1,
            "expired": 0,
            "cancelled": 1,
            "head": 3,
            "issued": 4,
            "seats": {"available": 47, "held": 1, "sold": 2},
            "revenue": 2 * PRICE,
        },
    )
    api.when_admin("GET", "/concerts/NOWHERE/stats").then_refused("CONCERT_NOT_FOUND")


def test_a_stream_is_read_by_its_name_and_by_its_id(api: Api) -> None:
    user_id = api.given_user(balance=5)
    read = api.when_admin("GET", f"/streams/wallet/{user_id}")
    read.then(
        200,
        {
            "items": [
                {
                    "position": read.json["items"][0]["position"],
                    "version": 1,
                    "topic": "wallet.opened",
                    "recorded_at": A_TIME,
                    "command_id": A_UUID,
                    "correlation_id": A_UUID,
                    "payload": {},
                },
                {
                    "position": read.json["items"][1]["position"],
                    "version": 2,
                    "topic": "wallet.charged",
                    "recorded_at": A_TIME,
                    "command_id": A_UUID,
                    "correlation_id": A_UUID,
                    "payload": {"amount": 5},
                },
            ],
            "next": None,
        },
    )
    assert read.position >= read.json["items"][1]["position"]
    by_id = api.when_admin("GET", f"/streams/{stream.stream_id(f'wallet/{user_id}')}")
    assert by_id.then(200).json == read.json


def test_a_stream_is_read_page_by_page(api: Api) -> None:
    user_id = api.given_user()
    for _ in range(4):
        api.when("POST", f"/api/v1/users/{user_id}/wallet/charges", {"amount": 5}).then(201)

    def ask(**query: Any) -> Any:
        return api.when_admin("GET", f"/streams/wallet/{user_id}", **query)

    assert [event["version"] for event in pages(ask, 2)] == [1, 2, 3, 4, 5]
    ask(after="5").then(200, {"items": [], "next": None})


@pytest.mark.parametrize(
    "name", ["wallet/nobody", "nothing", "", f"seat/{'x' * 1_000}", "queue/%00", "a/b/c"]
)
def test_a_stream_without_events_is_not_found(api: Api, name: str) -> None:
    api.when_admin("GET", f"/streams/{name}").then_refused("STREAM_NOT_FOUND")
    api.when_admin("GET", f"/streams/{name}", after="5").then_refused("STREAM_NOT_FOUND")


def test_a1_an_audit_replays_the_log_in_a_process_of_its_own(api: Api) -> None:
    ann = api.given_sale().given_owner(7)
    started = api.when_admin("POST", "/audits", {}).then(202)
    audit_id = started.json["audit_id"]
    api.when_admin("POST", "/audits", {}).then(202, {"audit_id": audit_id})
    done = until(
        lambda: api.when_admin("GET", f"/audits/{audit_id}"), lambda then: then.json["status"] != "RUNNING"
    )
    report = done.then(200, audit_id=audit_id, status="DONE", progress=1.0).json["report"]
    assert report["position"] >= ann.seen
    assert (report["ok"], report["breaches"]) == (True, [])
    assert {
        "code": ann.sale.code,
        "numbers_issued": 1,
        "activated": 1,
        "seats_sold": 1,
        "revenue": PRICE,
    } in (report["concerts"])
    api.when_admin("GET", f"/audits/{someone()}").then_refused("AUDIT_NOT_FOUND")


def test_an_audit_whose_process_died_has_failed(api: Api) -> None:
    audit_id = someone()
    execute(api, ABANDONED, audit_id)
    found = api.when_admin("GET", f"/audits/{audit_id}")
    found.then(200, {"audit_id": audit_id, "status": "FAILED", "progress": 0.5, "report": None})
    assert api.when_admin("POST", "/audits", {}).then(202).json["audit_id"] != audit_id


def test_a1_a_wallet_s_and_a_payment_s_history_are_replayed(api: Api) -> None:
    ann = api.given_sale().given_owner(7)
    of_user = api.when_admin("GET", "/audit/payments", user_id=ann.user_id).then(200, ok=True, breaches=[])
    topics = [item["topic"] for item in of_user.json["items"]]
    assert topics == ["wallet.opened", "wallet.charged", "wallet.debited", "payment.completed"]
    of_payment = api.when_admin("GET", "/audit/payments", payment_id=ann.payment_id).then(200, ok=True)
    (debited,) = (item for item in of_payment.json["items"] if item["topic"] == "wallet.debited")
    assert (debited["amount"], debited["balance"], debited["payment_id"]) == (PRICE, 0, ann.payment_id)
    first = of_user.json["items"][0]["recorded_at"]
    until_then = api.when_admin("GET", "/audit/payments", user_id=ann.user_id, at=first)
    assert [item["topic"] for item in until_then.json["items"]] == ["wallet.opened"]


def test_the_history_of_nobody_is_not_found(api: Api) -> None:
    path = "/audit/payments"
    api.when_admin("GET", path, user_id=someone()).then_refused("USER_NOT_FOUND")
    refused = api.when_admin("GET", path, payment_id=someone()).then_refused("PAYMENT_NOT_FOUND")
    assert refused.json["detail"] == "There is no such payment."
    for wrong in ({}, {"user_id": someone(), "payment_id": someone()}, {"user_id": "x"}):
        assert api.when_admin("GET", path, **wrong).json["code"] == "VALIDATION_FAILED"
    for at in ("0001-01-01T00:00:00+09:00", "yesterday", "2096-01-01T00:00:00"):
        refused = api.when_admin("GET", path, user_id=someone(), at=at)
        assert refused.json["code"] == "VALIDATION_FAILED"
        assert api.when_admin("POST", "/audits", {"at": at}).json["code"] == "VALIDATION_FAILED"


def test_scheduled_performances_are_what_buyers_see(api: Api) -> None:
    ann = api.given_sale().given_inside()
    (shown,) = ann.when_listing_dates().json["dates"]
    assert (shown["date"], shown["start_time"]) == (SHOW_DAY, SHOW_TIME)
