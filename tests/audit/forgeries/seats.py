"""Breaches of S1 to S5: holds, owners and reservations."""

from collections.abc import Iterable
from datetime import timedelta

from tests.audit.forgeries.forgery import (
    ANN,
    BEN,
    GALA,
    SEAT_PRICE,
    breaks,
    individual_events_of_last_append,
    let_in,
)
from tests.audit.log_builder import LogBuilder, StoredEvent, id_of


@breaks("S1")
def a_seat_is_held_over_a_live_hold(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    log.reserve(GALA, ANN, 7)
    log.reserve(GALA, BEN, 7)
    return [log.last("seat.held", 2), log.last("seat.held")]


@breaks("S1")
def a_seat_is_held_that_was_sold(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    log.pay(log.reserve(GALA, ANN, 7))
    log.reserve(GALA, BEN, 7)
    return [log.last("seat.sold"), log.last("seat.held")]


@breaks("S1")
def a_seat_is_sold_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    first, second = log.reserve(GALA, ANN, 7), log.reserve(GALA, BEN, 7)
    log.pay(first)
    log.pay(second)
    return [log.last("seat.sold", 2), log.last("seat.sold")]


@breaks("S1", also="S3")
def a_seat_is_sold_to_somebody_who_does_not_hold_it(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.omit(log.last("seat.held"))
    log.pay(reservation_id)
    return [log.last("seat.sold")]


@breaks("S1")
def a_seat_is_held_that_the_plan_lacks(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 51)
    return [log.last("seat.held")]


@breaks("S1")
def a_seat_is_held_of_a_performance_that_was_never_scheduled(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7, show="2026-05-02T19:30")
    return [log.last("reservation.opened")]


@breaks("S2")
def a_lapsed_hold_gives_way_without_being_recorded_as_expired(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    log.reserve(GALA, ANN, 7)
    log.pass_time(300)
    log.reserve(GALA, BEN, 7)
    log.omit(log.last("seat.hold_expired"))
    return [log.last("seat.held", 2), log.last("seat.held")]


@breaks("S2")
def a_hold_expires_before_its_deadline(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pass_time(299)
    log.expire_hold(reservation_id)
    return [log.last("seat.held"), log.last("seat.hold_expired")]


@breaks("S2")
def a_reservation_expires_before_its_deadline(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pass_time(299)
    log.expire_hold(reservation_id)
    return [log.last("reservation.expired")]


@breaks("S2")
def a_hold_lasts_longer_than_the_policy_says(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    for topic in ("seat.held", "reservation.opened", "token.seats_held"):
        log.last(topic).payload["until"] += timedelta(seconds=1)
    return [log.last("reservation.opened")]


@breaks("S3")
def one_of_the_seats_is_not_held(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7, 8)
    log.omit(log.last("seat.held"))
    return [log.last(topic) for topic in ("seat.held", "reservation.opened", "token.seats_held")]


@breaks("S3")
def one_of_the_seats_stays_held(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.release(log.reserve(GALA, ANN, 7, 8))
    log.omit(log.last("seat.hold_released"))
    return [
        log.last(topic) for topic in ("seat.hold_released", "reservation.cancelled", "token.seats_released")
    ]


@breaks("S3")
def one_of_the_seats_is_released_alone(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7, 8)
    seat = log.last("seat.held").stream
    with log.append():
        released = log.record(
            seat, "seat.hold_released", GALA, reservation_id=reservation_id, reason="released"
        )
    return [log.last("reservation.opened"), released]


@breaks("S3")
def a_lapsed_hold_expires_alone_and_gives_way_to_nobody(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pass_time(300)
    seat = log.last("seat.held").stream
    with log.append():
        expired = log.record(seat, "seat.hold_expired", GALA, reservation_id=reservation_id)
    return [log.last("reservation.opened"), expired]


@breaks("S3")
def the_token_does_not_tell_of_a_reservation(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.omit(log.last("token.seats_held"))
    return [log.last("seat.held"), log.last("reservation.opened")]


@breaks("S3")
def the_token_keeps_a_reservation_that_ended(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.release(log.reserve(GALA, ANN, 7))
    log.omit(log.last("token.seats_released"))
    return [log.last("seat.hold_released"), log.last("reservation.cancelled")]


@breaks("S3")
def a_seat_is_held_for_a_reservation_that_does_not_open(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.omit(log.last("reservation.opened"))
    return [log.last("seat.held"), log.last("token.seats_held")]


@breaks("S3")
def a_seat_is_held_for_another_user(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.last("seat.held").payload["user_id"] = BEN
    return [log.last(topic) for topic in ("seat.held", "reservation.opened", "token.seats_held")]


@breaks("S3")
def a_reservation_names_a_token_that_is_not_the_live_one(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    for topic in ("seat.held", "reservation.opened"):
        log.last(topic).payload["token_id"] = id_of("token", 99)
    return [log.last(topic) for topic in ("seat.held", "reservation.opened", "token.seats_held")]


@breaks("S3")
def a_hold_is_released_that_somebody_else_has(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    log.reserve(GALA, BEN, 8)
    held = log.last("seat.held")
    reservation_id = log.reserve(GALA, ANN, 7)
    with log.append():
        log.release(reservation_id)
        released = log.record(
            held.stream, "seat.hold_released", GALA, reservation_id=reservation_id, reason="released"
        )
    return [held, released]


@breaks("S3")
def a_reservation_ends_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    with log.append():
        log.release(reservation_id)
        stream = f"reservation/{reservation_id}"
        return [log.record(stream, "reservation.cancelled", GALA, reason="again")]


@breaks("S3")
def a_reservation_is_of_one_seat_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    opened = log.last("reservation.opened")
    opened.payload["seat_numbers"] = (7, 7)
    opened.payload["amount"] = 2 * SEAT_PRICE
    return [opened]


@breaks("S4")
def more_seats_are_reserved_than_the_policy_says(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 1, 2, 3, 4, 5)
    return [log.last("token.seats_held")]


@breaks("S4")
def seats_bought_before_are_not_counted(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.pay(log.reserve(GALA, ANN, 1, 2, 3))
    let_in(log, ANN)
    log.reserve(GALA, ANN, 4, 5)
    return [log.last("token.seats_held")]


@breaks("S5")
def a_token_has_two_open_reservations(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.reserve(GALA, ANN, 8)
    return [log.last("token.seats_held")]


@breaks("S5")
def a_lapsed_reservation_is_not_recorded_as_expired_first(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.pass_time(300)
    log.reserve(GALA, ANN, 8)
    return [log.last("token.seats_held")]


@breaks("S3")
def a_token_releases_seats_that_it_does_not_hold(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    log.reserve(GALA, BEN, 8)
    reservation_id = log.reserve(GALA, ANN, 7)
    with log.append():
        log.release(reservation_id)
        stream = f"token/{GALA}/{BEN}"
        return [
            log.record(
                stream,
                "token.seats_released",
                GALA,
                reservation_id=reservation_id,
                seat_numbers=(7,),
                reason="",
            )
        ]


@breaks("S3")
def another_users_token_tells_of_a_reservation(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    log.reserve(GALA, ANN, 7)
    held = log.last("token.seats_held")
    log.omit(held)
    with log.append():
        told = log.record(f"token/{GALA}/{BEN}", "token.seats_held", GALA, **held.payload)
    told.recorded_at = held.recorded_at
    return individual_events_of_last_append(log)


@breaks("S3")
def the_token_tells_of_other_seats(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.last("token.seats_held").payload["seat_numbers"] = (8,)
    return individual_events_of_last_append(log)
