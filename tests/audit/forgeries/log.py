"""Breaches of A1: the log itself cannot be read or replayed."""

from collections.abc import Iterable
from datetime import timedelta

from tests.audit.forgeries.forgery import ANN, BEN, GALA, breaks, let_in
from tests.audit.log_builder import SHOW_STARTS_AT, LogBuilder, StoredEvent


@breaks("A1")
def a_version_is_missing(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, 1)
    charged = log.last("wallet.charged")
    charged.version += 1
    return [charged]


@breaks("A1")
def a_version_comes_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, 1)
    charged = log.last("wallet.charged")
    charged.version -= 1
    return [charged]


@breaks("A1", also="W1")
def a_stream_begins_with_its_second_version(log: LogBuilder) -> Iterable[StoredEvent]:
    log.open_wallet("d" * 36)
    log.charge("d" * 36, 1)
    log.events.remove(log.last("wallet.opened"))
    return [log.last("wallet.charged")]


@breaks("A1")
def a_topic_is_unknown(log: LogBuilder) -> Iterable[StoredEvent]:
    with log.append():
        event = log.record(f"wallet/{ANN}", "wallet.emptied", ANN)
    log.charge(ANN, 1)
    return [event]


@breaks("A1")
def a_payload_lacks_a_member(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, 1)
    charged = log.last("wallet.charged")
    del charged.payload["amount"]
    log.charge(ANN, 1)
    return [charged]


@breaks("A1")
def an_amount_is_below_nothing(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, -1)
    return [log.last("wallet.charged")]


@breaks("A1")
def an_event_is_no_json(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, 1)
    charged = log.last("wallet.charged")
    charged.state = b"\xff{"
    log.charge(ANN, 1)
    return [charged]


@breaks("A1")
def time_runs_backwards(log: LogBuilder) -> Iterable[StoredEvent]:
    last = log.events[-1]
    log.pass_time(-1)
    log.charge(ANN, 1)
    return [last, log.last("wallet.charged")]


@breaks("A1")
def positions_do_not_increase(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, 1)
    log.last("wallet.charged").position -= 1
    return [log.last("wallet.charged")]


@breaks("A1")
def a_stream_has_the_id_of_another(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, 1)
    log.last("wallet.charged").stream_id = bytes(16)
    return [log.last("wallet.charged")]


@breaks("A1")
def an_event_stands_in_a_stream_of_another_kind(log: LogBuilder) -> Iterable[StoredEvent]:
    with log.append():
        event = log.record(f"concert/{GALA}", "wallet.charged", GALA, amount=1)
    log.omit(event)
    log.events.append(event)
    return [event]


@breaks("A1")
def a_stream_is_of_no_kind(log: LogBuilder) -> Iterable[StoredEvent]:
    with log.append():
        return [log.record("tombola/1", "wallet.charged", ANN, amount=1)]


@breaks("A1")
def an_event_has_the_partition_key_of_another(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, 1)
    log.last("wallet.charged").partition_key = BEN
    return [log.last("wallet.charged")]


@breaks("A1")
def an_event_comes_after_the_merged_ones_of_its_append(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    issued, merged = log.last("token.issued"), log.last("queue.numbers_issued")
    with log.append():
        log.open_wallet("d" * 36)
    opened = log.last("wallet.opened")
    opened.recorded_at = issued.recorded_at
    return [merged, opened]


@breaks("A1")
def merged_events_are_out_of_order(log: LogBuilder) -> Iterable[StoredEvent]:
    with log.append():
        log.join(GALA, ANN)
        log.let_in(GALA)
    issued, advanced = log.events[-2:]
    issued.version, advanced.version = advanced.version, issued.version
    issued.position, advanced.position = advanced.position, issued.position
    log.events[-2:] = [advanced, issued]
    return [issued]


@breaks("A1", also="Q1")
def a_concert_is_announced_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    log.announce(GALA)
    return [log.last("concert.announced")]


@breaks("A1", also="Q4")
def a_performance_is_scheduled_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    log.schedule(GALA)
    return [log.last("concert.performance_scheduled")]


@breaks("A1")
def a_plan_numbers_seats_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    plan = ((1, 10, "STANDARD", 1), (10, 20, "STANDARD", 1))
    log.schedule(GALA, "2026-05-02T19:30", SHOW_STARTS_AT + timedelta(days=1), plan)
    return [log.last("concert.performance_scheduled")]


@breaks("A1")
def a_sale_opens_of_a_concert_that_was_never_announced(log: LogBuilder) -> Iterable[StoredEvent]:
    log.open_sales("NOPE")
    return [log.last("concert.sales_opened")]


@breaks("A1")
def a_token_is_told_by_the_stream_of_another(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.last("token.issued").payload["user_id"] = BEN
    return [log.last("token.issued")]


@breaks("A1", also="S3")
def a_stream_goes_on_after_its_end(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.release(reservation_id)
    with log.append():
        return [log.record(f"reservation/{reservation_id}", "reservation.expired", "")]


@breaks("A1")
def a_concert_is_announced_by_the_stream_of_another(log: LogBuilder) -> Iterable[StoredEvent]:
    log.announce("MUTE")
    log.last("concert.announced").payload["code"] = GALA
    return [log.last("concert.announced")]


@breaks("A1")
def a_reservation_is_opened_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    opened = log.last("reservation.opened")
    with log.append():
        return [log.record(opened.stream, "reservation.opened", GALA, **opened.payload)]


@breaks("A1")
def a_version_follows_one_that_cannot_be_read_and_one_that_is_missing(
    log: LogBuilder,
) -> Iterable[StoredEvent]:
    log.charge(ANN, 1)
    log.last("wallet.charged").topic = "wallet.fed"
    log.charge(ANN, 1)
    log.last("wallet.charged").version += 1
    return [log.last("wallet.charged")]


@breaks("A1")
def an_unknown_event_comes_from_the_past(log: LogBuilder) -> Iterable[StoredEvent]:
    last = log.events[-1]
    log.pass_time(-1)
    with log.append():
        return [last, log.record(f"wallet/{ANN}", "wallet.fed", ANN)]
