"""Streams: readable names, and ids that anyone can compute."""

from uuid import UUID, uuid5

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.event import RecordedEvent
from aggregates.registry import AGGREGATES, stream_of
from aggregates.stream import NAMESPACE, stream_id
from aggregates.wallet import WalletOpened
from tests.aggregates.given import ANN, CODE, EVENING, TODAY, at, payment_of, reservation_of


def test_streams_are_called_as_the_rules_page_says() -> None:
    assert concert.stream(CODE).name == "concert/IU-2026"
    assert queue.stream(CODE).name == "queue/IU-2026"
    assert seat.stream(CODE, TODAY, EVENING, 7).name == "seat/IU-2026/2026-03-02T19:30/7"
    assert token.stream(CODE, ANN).name == f"token/IU-2026/{ANN}"
    assert wallet.stream(ANN).name == f"wallet/{ANN}"
    assert reservation.stream(reservation_of(ANN)).name == f"reservation/{reservation_of(ANN)}"
    assert payment.stream(payment_of(ANN)).name == f"payment/{payment_of(ANN)}"


def test_a_streams_id_is_the_uuid_of_its_name_under_a_namespace_that_never_changes() -> None:
    assert UUID("7c1d9a52-3b0e-5f64-9a77-1f2f0c8e4b10") == NAMESPACE
    assert wallet.stream(ANN).id == stream_id(f"wallet/{ANN}") == uuid5(NAMESPACE, f"wallet/{ANN}")
    names = ["", "공연/서울", *(f"seat/{number}" for number in range(200))]
    assert [stream_id(name) for name in names] == [uuid5(NAMESPACE, name) for name in names]


def test_events_are_spread_by_concert_but_a_wallets_by_user() -> None:
    assert concert.stream(CODE).partition_key == CODE
    assert queue.stream(CODE).partition_key == CODE
    assert seat.stream(CODE, TODAY, EVENING, 7).partition_key == CODE
    assert token.stream(CODE, ANN).partition_key == CODE
    assert wallet.stream(ANN).partition_key == str(ANN)


def test_reservations_and_payments_take_the_key_of_their_visit() -> None:
    assert reservation.stream(reservation_of(ANN)).partition_key == ""
    assert payment.stream(payment_of(ANN)).partition_key == ""


def test_the_stream_of_an_event_is_the_one_that_its_aggregate_names() -> None:
    named = (
        concert.stream(CODE), queue.stream(CODE), seat.stream(CODE, TODAY, EVENING, 7),
        token.stream(CODE, ANN), wallet.stream(ANN), reservation.stream(reservation_of(ANN)),
        payment.stream(payment_of(ANN)),
    )  # fmt: skip
    assert {stream.aggregate.kind for stream in named} == {aggregate.kind for aggregate in AGGREGATES}
    for stream in named:
        partition_key = stream.partition_key or CODE  # that of the visit, where it has none of its own
        recorded = RecordedEvent(1, stream.name, 1, WalletOpened(), partition_key, at("12:00"), *[ANN] * 3)
        assert stream_of(recorded) == stream
