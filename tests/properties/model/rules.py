"""The rules as statements about the model's world, each by its id. They hold after every append."""

from collections import Counter
from datetime import datetime, timedelta

from tests.properties.model.append import Append, Gate
from tests.properties.model.buying import seats_owned
from tests.properties.model.world import Concert, Payment, Reservation, Show, Status, Token, Wallet


def judge(append: Append) -> None:
    """Hold the world, as this append leaves it, against the rules."""
    world, now = append.world, append.now
    for concert in world.concerts.values():
        _judge_line(concert)
        for show in concert.shows.values():
            _judge_seats(show, now)
    for code in append.policies:
        _judge_admissions(append, world.concerts[code], append.gates[code])
    for token in world.tokens.values():
        _judge_token(token)
    for reservation in world.reservations.values():
        _judge_reservation(reservation, now)
    for reservation in append.opened:
        _judge_opening(append, reservation)
    for wallet in world.wallets.values():
        _judge_wallet(wallet)
    for payment in world.payments.values():
        _judge_payment(payment)


def _judge_line(concert: Concert) -> None:
    numbers = [token.number for token in concert.line]
    assert numbers == list(range(1, len(numbers) + 1)), "Q1"
    times = [token.issued_at for token in concert.line]
    assert times == sorted(times), "Q1"
    live = Counter(token.user_id for token in concert.line if token.live)
    assert not live or max(live.values()) == 1, "Q2"
    passed, following = concert.line[: concert.head], concert.line[concert.head :]
    assert not any(token.status is Status.WAITING for token in passed), "Q3"
    assert not any(token.activated_at for token in following), "Q3"


def _judge_admissions(append: Append, concert: Concert, gate: Gate) -> None:
    """Q4, L1: by the policy and the sale that the append began with; changing them ends a batch."""
    if not gate.activated:
        return
    policy = append.policies[concert.code]
    assert policy["max_active"] is None or gate.active <= policy["max_active"], "Q4"
    seats = sum(count for name, count in gate.unsold.items() if append.now < concert.shows[name].starts_at)
    assert not policy["admit_up_to_seats_left"] or gate.active <= seats + gate.sold.total(), "Q4"
    since = append.now - timedelta(seconds=policy["admit_interval_s"])
    in_span = sum(at >= since for at in concert.activations)
    assert policy["admit_per_interval"] is None or in_span <= policy["admit_per_interval"], "Q4"


def _judge_seats(show: Show, now: datetime) -> None:
    assert not show.holds.keys() & show.owners.keys(), "S1"
    for number, reservation in show.holds.items():
        assert number in reservation.seat_numbers, "S1"
        assert reservation.status is Status.OPEN or reservation.until <= now, "S3"
    for number, payment in show.owners.items():
        assert payment.status is Status.COMPLETED, "P4"
        assert number in payment.reservation.seat_numbers, "S1"


def _judge_token(token: Token) -> None:
    assert (token.until is None) == (token.activated_at is None), "Q5"
    assert token.live or token.open is None, "Q6"
    assert token.open is None or token.open.status is Status.OPEN, "S5"


def _judge_reservation(reservation: Reservation, now: datetime) -> None:
    is_open = reservation.status is Status.OPEN
    assert is_open == (reservation.token.open is reservation), "S5"
    if is_open and now < reservation.until:
        holds = reservation.show.holds
        assert all(holds.get(number) is reservation for number in reservation.seat_numbers), "S3"
    assert reservation.failures <= 5, "P3"


def _judge_opening(append: Append, reservation: Reservation) -> None:
    token = reservation.token
    concert, policy = append.world.concerts[token.code], append.policies[token.code]
    held = len(reservation.seat_numbers) if reservation.status is Status.OPEN else 0
    assert seats_owned(concert, token.user_id) + held <= policy["max_seats_per_user"], "S4"
    assert append.now < reservation.show.starts_at, "L2"
    assert token.until is not None, "Q7"
    assert append.now < token.until, "Q5"


def _judge_wallet(wallet: Wallet) -> None:
    assert wallet.balance >= 0, "W1"


def _judge_payment(payment: Payment) -> None:
    reservation, token = payment.reservation, payment.reservation.token
    owners = reservation.show.owners
    owns = [owners.get(number) is payment for number in reservation.seat_numbers]
    match payment.status:
        case Status.COMPLETED:
            assert all(owns), "P1"
            assert (reservation.status, token.status) == (Status.CONFIRMED, Status.COMPLETED), "P1"
            assert payment.paid_at < reservation.until, "P2"
        case Status.REFUNDED:
            assert not any(owns), "P4"
            assert reservation.status is Status.CANCELLED, "P4"
        case _:
            assert not any(owns), "P3"
