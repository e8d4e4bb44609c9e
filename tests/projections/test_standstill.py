"""A topic that does not bring what the log has is noticed, and tried again."""

import pytest

from api.board import WAIT_S
from projections.standstill import FROM_LOG_S, LOOK_EVERY_S, STILL_S, Standstill

TO_READ_IT_S = 0.5
"""So long what the topic has not brought may take to be read from the log, and applied."""


def looks(*seen: tuple[float, int, int, dict[int, int]]) -> list[bool]:
    standstill = Standstill()
    lasts = []
    for now, log, topic, partitions in seen:
        standstill.look(now, log=log, topic=topic, partitions=partitions)
        lasts.append(standstill.lasts)
    return lasts


def test_a_topic_that_keeps_up_is_read() -> None:
    assert not any(looks((0, 10, 8, {0: 8}), (1, 20, 15, {0: 12}), (2, 30, 25, {0: 22})))


def test_a_topic_that_is_late_is_not_waited_for() -> None:
    assert looks((0, 10, 5, {0: 5}), (STILL_S, 10, 9, {0: 9}), (STILL_S + 1, 10, 10, {0: 10})) == [
        False, True, False,
    ]  # fmt: skip


def test_nobody_is_late_while_nothing_happens() -> None:
    assert not any(looks((0, 10, 10, {0: 10, 1: 10}), (60, 10, 10, {0: 10, 1: 10}), (61, 12, 10, {0: 10})))


def test_a_partition_that_stands_still_is_read_from_the_log_for_a_while() -> None:
    still = {0: 10, 1: 4}
    assert looks(
        (0, 10, 10, still),
        (STILL_S - 0.1, 10, 10, still),
        (STILL_S, 10, 10, still),
        (STILL_S + 1, 10, 10, {0: 10, 1: 10}),
        (STILL_S + FROM_LOG_S, 10, 10, {0: 10, 1: 10}),
    ) == [False, False, True, True, False]


def test_a_partition_that_moves_slowly_does_not_stand_still() -> None:
    assert not any(looks(*((second, 100, 100, {0: second}) for second in range(60))))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("topic", [0, 1], ids=["not published", "not applied"])
def test_whenever_the_topic_fails_readers_are_served_within_their_patience(share: float, topic: int) -> None:
    recorded_at = share * LOOK_EVERY_S
    standstill = Standstill()
    now = 0.0
    while not standstill.lasts:
        log = int(now >= recorded_at)
        standstill.look(now, log=log, topic=topic * log, partitions={0: 0})
        now += LOOK_EVERY_S
    read_at = now - LOOK_EVERY_S
    assert read_at - recorded_at + TO_READ_IT_S <= WAIT_S
