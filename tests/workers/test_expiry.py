"""What runs out is recorded by the timer, soon, once, and by the database's clock (rules S2, Q5)."""

from datetime import timedelta
from uuid import UUID, uuid5

from aggregates.ids import UserId
from aggregates.queue import SlotsFreed
from aggregates.reservation import ReservationExpired
from aggregates.seat import SeatHoldExpired
from aggregates.token import TokenActivated, TokenExpiredRecorded
from tests.aggregates.given import ANN, BEN, reservation_of
from tests.commands.steps import expire, inside, join, let_in, registered, reserve, waiting
from tests.live_sale import SHOW_DAY, LiveSale, always, on_sale
from workers.expiry import Expiry
from workers.suggester import AT_ONCE, Suggester

HOUR = timedelta(hours=1)


def test_s2_a_hold_that_is_over_is_recorded_with_its_reservation(sale: LiveSale) -> None:
    sale.start_projector()
    sale.start_timer()
    sale.done(on_sale(hold_ttl_s=1), inside(ANN), reserve(ANN, 7, 8, day=SHOW_DAY))
    sale.until(lambda: sale.events(ReservationExpired))
    assert sale.events(SeatHoldExpired) == [SeatHoldExpired(reservation_of(ANN))] * 2
    assert not sale.events(TokenExpiredRecorded)


def test_q5_a_token_ends_at_its_deadline_and_frees_its_slot(sale: LiveSale) -> None:
    sale.start_projector()
    sale.start_timer()
    sale.done(on_sale(active_ttl_s=1, max_active=1), inside(ANN), waiting(BEN))
    sale.until(lambda: len(sale.events(TokenExpiredRecorded)) == 2)
    assert [event.count for event in sale.events(SlotsFreed)] == [1, 1]


def test_q5_a_token_whose_reservation_is_open_past_its_deadline_ends_with_it(sale: LiveSale) -> None:
    sale.start_projector()
    sale.start_timer()
    sale.done(on_sale(active_ttl_s=1, hold_ttl_s=2), inside(ANN), reserve(ANN, 7, day=SHOW_DAY))
    sale.until(lambda: sale.events(TokenExpiredRecorded))
    assert sale.events(ReservationExpired)
    assert sale.tally.outcomes["RecordExpiry OK"] == 1


def test_what_is_due_is_recorded_within_a_second_of_its_deadline(sale: LiveSale) -> None:
    sale.start_projector()
    sale.start_timer()
    active_for_two_seconds(sale, people(100))
    sale.until(lambda: len(sale.events(TokenExpiredRecorded)) == 100)
    lateness_s = [lateness.total_seconds() for lateness in latenesses(sale)]
    assert 0 <= min(lateness_s) <= max(lateness_s) < 1


def test_two_timers_record_what_one_would(sale: LiveSale) -> None:
    sale.start_projector()
    active_for_two_seconds(sale, people(100))
    sale.start_timer()
    sale.start_timer()
    sale.until(lambda: len(sale.events(TokenExpiredRecorded)) >= 100)
    assert len(sale.events(TokenExpiredRecorded)) == 100
    assert sum(event.count for event in sale.events(SlotsFreed)) == 100


def test_a_stale_suggestion_costs_one_command_and_no_event(sale: LiveSale) -> None:
    sale.done(on_sale(), inside(ANN), ago=HOUR)
    sale.project()
    sale.done(expire(ANN))
    duty = expiry(sale)
    for _ in range(5):
        sale.round(duty)
    assert sale.tally.outcomes == {"RecordExpiry OK": 1}
    assert len(sale.events(TokenExpiredRecorded)) == 1


def test_what_was_recorded_is_not_suggested_again_before_the_read_model_has_seen_it(sale: LiveSale) -> None:
    sale.done(on_sale(), inside(ANN), ago=HOUR)
    sale.project()
    duty = expiry(sale)
    for _ in range(5):
        sale.round(duty)
    sale.project()
    sale.round(duty)
    assert sale.tally.outcomes == {"RecordExpiry OK": 1}
    assert len(sale.events(TokenExpiredRecorded)) == 1


def test_what_does_not_fit_into_one_round_follows_at_once(sale: LiveSale) -> None:
    crowd = people(AT_ONCE + 1)
    sale.done(on_sale(max_active=None, admit_up_to_seats_left=False), ago=HOUR)
    sale.ask(*(registered(user)[0] for user in crowd), ago=HOUR)
    sale.ask(*(join(user) for user in crowd), ago=HOUR)
    sale.done(let_in(*enumerate(crowd, start=1)), ago=HOUR)
    sale.project()
    duty = expiry(sale)
    assert sale.round(duty)
    assert not sale.round(duty)
    assert len(sale.events(TokenExpiredRecorded)) == len(crowd)


def test_the_lateness_of_the_last_expiry_is_told(sale: LiveSale) -> None:
    sale.done(on_sale(active_ttl_s=1_800), inside(ANN), ago=HOUR)
    sale.project()
    duty = expiry(sale)
    sale.round(duty)
    assert 1_800 <= duty.lateness_s < 1_860


def expiry(sale: LiveSale) -> Expiry:
    return Expiry(sale.read_models, Suggester(sale.start_bus(sale.tally), always))


def people(count: int) -> list[UserId]:
    return [UserId(uuid5(UUID(int=count), str(number))) for number in range(count)]


def active_for_two_seconds(sale: LiveSale, crowd: list[UserId]) -> None:
    sale.done(on_sale(active_ttl_s=2, seats=len(crowd)))
    for number, user in enumerate(crowd, start=1):
        sale.done(inside(user, number))


def latenesses(sale: LiveSale) -> list[timedelta]:
    log = sale.log()
    due = {one.correlation_id: one.event.until for one in log if isinstance(one.event, TokenActivated)}
    return [
        one.recorded_at - due[one.correlation_id]
        for one in log
        if isinstance(one.event, TokenExpiredRecorded)
    ]
