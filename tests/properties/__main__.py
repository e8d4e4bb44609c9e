"""Looks for a history that breaks a rule, for as long as you like: `python -m tests.properties --help`."""

import logging
import sys
import time
from argparse import ArgumentParser
from collections import defaultdict

import structlog
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import get_state_machine_test

from tests.properties.machine import AnyHistory

ROUND = 200
"""So many examples share a seed; a round remembers what it tried, and so is kept short."""

STEPS = 60


def main() -> None:
    """Play so many histories; print what was asked for, and how often it came out how."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2_000, help="how many histories")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each round counts one on")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    started = time.process_time()
    for number in range(-(-options.examples // ROUND)):
        _play_round(options.seed + number, min(ROUND, options.examples - number * ROUND))
    _print_tally(options.examples, time.process_time() - started)


def _play_round(round_seed: int, examples: int) -> None:
    round_settings = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    try:
        seed(round_seed)(get_state_machine_test(AnyHistory, settings=round_settings))()
    except BaseException:
        sys.stderr.write(f"Found with --seed {round_seed} --examples {examples}\n")
        raise
    commands = AnyHistory.tally.total()
    sys.stdout.write(f"seed {round_seed}: {examples} histories; {commands} commands so far\n")
    sys.stdout.flush()


def _print_tally(examples: int, cpu_s: float) -> None:
    by_command: dict[str, list[str]] = defaultdict(list)
    for (name, code), count in sorted(AnyHistory.tally.items()):
        by_command[name].append(f"{code} {count}")
    for name, counts in by_command.items():
        sys.stdout.write(f"{name}: {', '.join(counts)}\n")
    commands = AnyHistory.tally.total()
    sys.stdout.write(f"{examples} histories, {commands} commands, {cpu_s:.0f} s of CPU: no rule was broken\n")


if __name__ == "__main__":
    main()
