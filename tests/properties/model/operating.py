"""What operators do, and the timer for them: announcing, scheduling, opening, closing, pausing: L1, L2."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from tests.properties.model.append import Append, refuse
from tests.properties.model.tokens import concert_of
from tests.properties.model.wallets import Results
from tests.properties.model.world import Block, Concert, Show

ZONES = available_timezones()
OFFSETS = [timedelta(minutes=15 * quarters) for quarters in range(-60, 61)]
"""How far a venue's clock may be from UTC."""

DEFAULT_PLAN = (Block(1, 50, "STANDARD", 100_000),)
SMALLEST = {"abandon_waiting_after_s": 600}
LARGEST = {"admit_interval_s": 3_600}
MOMENTS = ("sales_open_at", "sales_close_at")


def announce_concert(append: Append, code: str, title: str, time_zone: str, **described: Any) -> Results:
    if code in append.world.concerts:
        refuse("CONCERT_ALREADY_EXISTS")
    if time_zone not in ZONES:
        refuse("VALIDATION_FAILED")
    policy = msgspec.to_builtins(described.pop("policy"), builtin_types=[datetime])
    append.world.concerts[code] = Concert(code, title, time_zone, policy)
    told = {"code": code, "title": title, "time_zone": time_zone, "policy": policy, **described}
    append.record(f"concert/{code}", "concert.announced", of=code, **told)
    append.gate(code).opened = True
    return {}


def schedule_performance(
    append: Append,
    code: str,
    date: date,
    start_time: str,
    end_time: str | None,
    seats: Sequence[Any] | None,
    seats_from: Any,
) -> Results:
    concert = concert_of(append, code)
    reasons: list[str] = []
    plan = DEFAULT_PLAN if seats is None else _plan(seats)
    if seats is None and seats_from is not None:
        model = concert.shows.get(f"{seats_from.date.isoformat()}T{seats_from.start_time}")
        plan = model.plan if model is not None else ()
        reasons += ["PERFORMANCE_NOT_FOUND"] if model is None else []
    elif not plan:
        reasons.append("VALIDATION_FAILED")
    starts_at = _first_instant(date, start_time, concert.time_zone)
    if starts_at is None:
        reasons.append("VALIDATION_FAILED")
    if f"{date.isoformat()}T{start_time}" in concert.shows:
        reasons.append("PERFORMANCE_ALREADY_EXISTS")
    if reasons or starts_at is None:
        refuse(*reasons)
    show = Show(date, start_time, starts_at, plan)
    concert.shows[show.name] = show
    append.record(
        f"concert/{code}",
        "concert.performance_scheduled",
        of=code,
        date=date,
        start_time=start_time,
        end_time=end_time,
        starts_at=starts_at,
        seats=[block._asdict() for block in plan],
    )
    append.gate(code).added[show.name] += show.plan[-1].last
    return {"date": date, "start_time": start_time, "starts_at": starts_at, "name": show.name}


def _plan(seats: Sequence[Any]) -> tuple[Block, ...]:
    """The seats 1 to N in their order, or nothing where they are not that."""
    blocks = sorted(Block(block.first, block.last, block.type, block.price) for block in seats)
    numbers = [number for block in blocks for number in range(block.first, block.last + 1)]
    whole = numbers == list(range(1, len(numbers) + 1)) and all(block.first <= block.last for block in blocks)
    return tuple(blocks) if whole else ()


def _first_instant(day: date, start_time: str, time_zone: str) -> datetime | None:
    """When the venue's clock shows this for the first time; None where it skips it."""
    wall, zone = datetime.combine(day, time.fromisoformat(start_time)), ZoneInfo(time_zone)
    instants = [(wall - offset).replace(tzinfo=UTC) for offset in OFFSETS]
    shown = [instant for instant in instants if instant.astimezone(zone).replace(tzinfo=None) == wall]
    return min(shown, default=None)


def change_policy(append: Append, code: str, changes: Mapping[str, Any]) -> Results:
    concert = concert_of(append, code)
    for name, value in changes.items():
        too_small = name in SMALLEST and value is not None and value < SMALLEST[name]
        if name not in concert.policy or too_small or (name in LARGEST and (value or 0) > LARGEST[name]):
            refuse("VALIDATION_FAILED")
    policy = {**concert.policy, **{name: _read(name, value) for name, value in changes.items()}}
    if policy != concert.policy:
        concert.policy = policy
        append.record(f"concert/{code}", "concert.policy_changed", of=code, policy=policy)
    return policy


def _read(name: str, value: Any) -> Any:
    if name in MOMENTS and value is not None:
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def open_sales(append: Append, code: str) -> Results:
    follow_timetable(append, code)
    _turn(append, concert_of(append, code), opened=True)
    return {}


def close_sales(append: Append, code: str) -> Results:
    follow_timetable(append, code)
    _turn(append, concert_of(append, code), opened=False)
    return {}


def follow_timetable(append: Append, code: str) -> Results:
    """The timer opens and closes, unless somebody did at or after that time; the later time counts."""
    concert = concert_of(append, code)
    times = [(concert.policy["sales_open_at"], True), (concert.policy["sales_close_at"], False)]
    due = [(at, -opens, opens) for at, opens in times if at is not None and at <= append.now]
    if due:
        at, _, opens = max(due)
        if concert.changed_at is None or concert.changed_at < at:
            _turn(append, concert, opened=opens)
    return {}


def _turn(append: Append, concert: Concert, *, opened: bool) -> None:
    if concert.open is not opened:
        concert.open, concert.changed_at = opened, append.now
        topic = "concert.sales_opened" if opened else "concert.sales_closed"
        append.record(f"concert/{concert.code}", topic, of=concert.code)


def pause_queue(append: Append, code: str) -> Results:
    return _pause(append, code, paused=True)


def resume_queue(append: Append, code: str) -> Results:
    return _pause(append, code, paused=False)


def _pause(append: Append, code: str, *, paused: bool) -> Results:
    concert = concert_of(append, code)
    if concert.paused is not paused:
        concert.paused = paused
        append.gate(code).turned = "queue.paused" if paused else "queue.resumed"
    return {}


def withdraw_seats(append: Append, code: str, date: date, start_time: str) -> Results:
    """L2: what was scheduled in this very append counts from the next on, and is not withdrawn before."""
    show = concert_of(append, code).shows.get(f"{date.isoformat()}T{start_time}")
    if show is None:
        refuse("PERFORMANCE_NOT_FOUND")
    gate = append.gate(code)
    if show.starts_at <= append.now and not show.withdrawn and show.name in gate.unsold:
        show.withdrawn, gate.withdrawn = True, show
    return {}
