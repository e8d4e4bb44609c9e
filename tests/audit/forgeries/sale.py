"""Breaches of L1 and L2: the sale is closed, or the performance has begun."""

from collections.abc import Iterable
from datetime import timedelta

from tests.audit.forgeries.forgery import ANN, GALA, breaks, let_in
from tests.audit.log_builder import SHOW_STARTS_AT, LogBuilder, StoredEvent


@breaks("L1")
def somebody_joins_while_the_sale_is_closed(log: LogBuilder) -> Iterable[StoredEvent]:
    log.close_sales(GALA)
    log.join(GALA, ANN)
    return [log.last("token.issued")]


@breaks("L1")
def somebody_is_let_in_while_the_sale_is_closed(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.close_sales(GALA)
    log.let_in(GALA)
    return [log.last("token.activated")]


@breaks("L1")
def seats_are_reserved_while_the_sale_is_closed(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.close_sales(GALA)
    log.reserve(GALA, ANN, 7)
    return [log.last("reservation.opened")]


@breaks("L1")
def somebody_is_let_in_while_the_queue_is_paused(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.pause(GALA)
    log.let_in(GALA)
    return [log.last("token.activated")]


@breaks("L2")
def seats_are_reserved_after_the_performance_began(log: LogBuilder) -> Iterable[StoredEvent]:
    log.now = SHOW_STARTS_AT - timedelta(seconds=1)
    let_in(log, ANN)
    log.now = SHOW_STARTS_AT
    log.reserve(GALA, ANN, 7)
    return [log.last("reservation.opened")]


@breaks("L2")
def seats_are_withdrawn_before_the_performance(log: LogBuilder) -> Iterable[StoredEvent]:
    log.withdraw(GALA)
    return [log.last("queue.seats_withdrawn")]


@breaks("L2")
def more_seats_are_withdrawn_than_are_unsold(log: LogBuilder) -> Iterable[StoredEvent]:
    log.now = SHOW_STARTS_AT
    log.withdraw(GALA)
    log.last("queue.seats_withdrawn").payload["count"] = 51
    return [log.last("queue.seats_withdrawn")]


@breaks("L2")
def seats_are_withdrawn_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    log.now = SHOW_STARTS_AT
    log.withdraw(GALA)
    log.withdraw(GALA)
    return [log.last("queue.seats_withdrawn")]


@breaks("L2")
def seats_are_withdrawn_of_a_performance_that_was_never_scheduled(log: LogBuilder) -> Iterable[StoredEvent]:
    log.withdraw(GALA, "2026-03-01T19:30")
    return [log.last("queue.seats_withdrawn")]
