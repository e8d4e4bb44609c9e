"""The waiting line over HTTP: joining it, asking for one's place, leaving it."""

from tests.api.grammar import A_TIME, A_TOKEN, A_UUID, Api, moment, someone, until


def test_joining_answers_with_the_token(api: Api) -> None:
    sale = api.given_sale()
    user_id = api.given_user()
    joined = sale.when("POST", "/token", {"user_id": user_id}).then(
        201,
        {
            "token": A_TOKEN,
            "token_id": A_UUID,
            "user_id": user_id,
            "concert_code": sale.code,
            "queue_number": 1,
            "status": "WAITING",
            "place": 1,
            "ahead": 0,
            "eta_seconds": None,
            "sales": "OPEN",
            "sold_out": False,
            "poll_after_ms": 1_000,
            "issued_at": A_TIME,
            "expires_at": None,
        },
    )
    assert joined.headers["retry-after"] == "1"


def test_asking_answers_as_joining_did(api: Api) -> None:
    sale = api.given_sale()
    sale.given_waiting()
    ben = sale.given_waiting()
    joined = ben.when_joining().then(200, place=2, ahead=1)
    asked = ben.when_asking().then(200, joined.json)
    assert asked.headers["retry-after"] == "1"


def test_q2_joining_again_returns_the_same_place(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_waiting()
    sale.given_waiting()
    token = ann.token
    ann.when_joining().then(200, token=token, queue_number=1, place=1)


def test_q2_after_its_end_joining_gives_a_new_number_at_the_back(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_waiting()
    sale.given_waiting()
    ann.when_leaving().then_nothing()
    ann.when_joining().then(201, queue_number=3)
    ann.when_asking().then(200, queue_number=3, place=2)


def test_joining_takes_a_user_then_a_concert_then_open_sales(api: Api) -> None:
    closed, user_id = api.given_concert(), api.given_user()
    nowhere = "/api/v1/concerts/NOWHERE/token"
    api.when("POST", nowhere, {"user_id": someone()}).then_refused("USER_NOT_FOUND")
    api.when("POST", nowhere, {"user_id": user_id}).then_refused("CONCERT_NOT_FOUND")
    closed.when("POST", "/token", {"user_id": user_id}).then_refused("SALES_NOT_OPEN")


def test_a_full_line_takes_nobody_more(api: Api) -> None:
    sale = api.given_sale(max_waiting=1)
    ann = sale.given_waiting()
    refused = sale.when("POST", "/token", {"user_id": api.given_user()}).then_refused("QUEUE_FULL")
    assert int(refused.headers["retry-after"]) > 0
    ann.when_joining().then(200)


def test_early_leavers_do_not_count_for_those_behind(api: Api) -> None:
    sale = api.given_sale(max_active=1)
    first, second, third, fourth, last = [sale.given_waiting() for _ in range(5)]
    last.when_asking().then(200, place=5, ahead=4)
    second.when_leaving().then_nothing()
    fourth.when_leaving().then_nothing()
    last.seen = fourth.seen
    last.when_asking().then(200, place=3, ahead=2)
    third.seen = fourth.seen
    third.when_asking().then(200, place=2, ahead=1)
    sale.let_in()
    first.when_asking().then(200, status="ACTIVE", place=None, ahead=None)
    third.when_asking().then(200, place=1, ahead=0)
    last.when_asking().then(200, place=2, ahead=1)
    last.when_joining().then(200, place=2, ahead=1)


def test_an_active_token_says_until_when(api: Api) -> None:
    ann = api.given_sale(active_ttl_s=60).given_inside()
    asked = ann.when_asking().then(200, status="ACTIVE", eta_seconds=None, poll_after_ms=1_000).json
    assert 55 < (moment(asked["expires_at"]) - moment(asked["issued_at"])).total_seconds() < 65
    ann.when_joining().then(200, status="ACTIVE", expires_at=asked["expires_at"])


def test_q5_an_open_reservation_makes_a_token_last_longer(api: Api) -> None:
    ann = api.given_sale(active_ttl_s=60, hold_ttl_s=300).given_inside()
    reserved = ann.when_reserving(7).then(201)
    ann.when_asking().then(200, status="ACTIVE", expires_at=reserved.json["hold_expires_at"])


def test_q5_a_token_expires_before_anyone_records_it(api: Api) -> None:
    ann = api.given_sale(active_ttl_s=1).given_inside()
    expired = until(ann.when_asking, lambda then: then.json["status"] != "ACTIVE")
    expired.then(200, status="EXPIRED", expires_at=None, place=None)
    ann.when_listing_dates().then_refused("TOKEN_EXPIRED")
    ann.when_looking_at_seats().then_refused("TOKEN_EXPIRED")
    ann.when_reserving(7).then_refused("TOKEN_EXPIRED")
    ann.when_paying().then_refused("TOKEN_EXPIRED")
    ann.when_leaving().then_refused("TOKEN_EXPIRED")
    ann.when_joining().then(201, queue_number=2)


def test_q6_a_payment_completes_the_token(api: Api) -> None:
    ann = api.given_sale().given_owner(7)
    ann.when_asking().then(200, status="COMPLETED", place=None, ahead=None, expires_at=None)
    ann.when_listing_dates().then_refused("TOKEN_ENDED")
    ann.when_leaving().then_refused("TOKEN_ENDED")


def test_q6_leaving_ends_the_token_and_releases_what_it_holds(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_holding(7)
    ann.when_leaving().then_nothing()
    ann.when_asking().then(200, status="CANCELLED", expires_at=None)
    ann.when_looking_at_reservation().then(200, status="CANCELLED")
    ann.when_leaving().then_refused("TOKEN_ENDED")
    sale.given_inside().when_reserving(7).then(201)


def test_who_leaves_the_line_is_told_so_ahead_of_the_head(api: Api) -> None:
    sale = api.given_sale()
    sale.given_waiting()
    ben = sale.given_waiting()
    ben.when_leaving().then_nothing()
    ben.when_asking().then(200, status="CANCELLED", place=None)


def test_sold_out_says_that_no_seat_is_left_unsold(api: Api) -> None:
    sale = api.given_sale(seats=1)
    ann, ben = sale.given_owner(1), sale.given_waiting()
    ben.when_joining().then(200, sold_out=True)
    ben.when_asking().then(200, sold_out=True)
    ann.when_refunding().then(200)
    ben.seen = ann.seen
    ben.when_asking().then(200, sold_out=False)


def test_l1_waiting_tokens_keep_their_place_and_are_told(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_waiting()
    closed = sale.when_admin("POST", "/sales/close").then(200)
    # Only the concerts' read model tells of it; a read of the line waits for the line's.
    until(ann.when_asking, lambda then: then.json["sales"] == "CLOSED").then(200, status="WAITING", place=1)
    ann.when_joining().then(200, sales="CLOSED", place=1)
    sale.when("POST", "/token", {"user_id": api.given_user()}).then_refused("SALES_NOT_OPEN")
    assert closed.position > 0


def test_the_time_to_wait_is_estimated_from_recent_admissions(api: Api) -> None:
    sale = api.given_sale(max_active=2)
    first, _, third, fourth = [sale.given_waiting() for _ in range(4)]
    third.when_asking().then(200, eta_seconds=None)
    sale.let_in()
    near = until(third.when_asking, lambda then: then.json["eta_seconds"] is not None)
    assert near.json["eta_seconds"] <= fourth.when_asking().json["eta_seconds"] < 60
    first.when_asking().then(200, eta_seconds=None)


def test_a_token_is_for_its_own_concert(api: Api) -> None:
    sale, other = api.given_sale(), api.given_sale()
    ann = sale.given_inside()
    for method, path in (
        ("GET", "/token"),
        ("DELETE", "/token"),
        ("GET", "/dates"),
        ("GET", "/seats?date=2096-04-01"),
    ):
        other.when(method, path, token=ann.token).then_refused("TOKEN_MISMATCH")
    body = {"date": "2096-04-01", "seat_numbers": [7]}
    other.when("POST", "/reservations", body, token=ann.token).then_refused("TOKEN_MISMATCH")
    api.when("GET", "/api/v1/concerts/NOWHERE/token", token=ann.token).then_refused("TOKEN_MISMATCH")


def test_without_a_token_nobody_is_anyone(api: Api) -> None:
    sale = api.given_sale()
    sale.when("GET", "/token").then_refused("TOKEN_MISSING")
    sale.when("GET", "/token", token="no.signed.token").then_refused("TOKEN_INVALID")
    sale.when("GET", "/token", headers={"authorization": "Basic YW5uOmFubg=="}).then_refused("TOKEN_INVALID")


def test_the_scheme_of_a_token_is_read_in_any_case(api: Api) -> None:
    ann = api.given_sale().given_waiting()
    ann.when_asking(token=None, headers={"authorization": f"bearer  {ann.token}"}).then(200)


def test_a_token_that_the_read_model_has_not_seen_yet_waits(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_waiting()
    ann.when_asking().then(200, place=1)
    with api.service.without_projector():
        ben = sale.given_waiting()
        ben.seen = 0
        ben.when_asking().then(200, status="WAITING", place=2)
        ben.when_listing_dates().then_refused("TOKEN_NOT_ACTIVE", place=2)


def test_a_token_of_a_concert_that_the_read_model_has_not_seen_yet_is_not_refused(api: Api) -> None:
    with api.service.without_projector():
        ann = api.given_sale().given_waiting()
        ann.seen = 0
        ann.when_asking().then_refused("READ_MODEL_BEHIND")
    ann.when_asking().then(200, place=1)
