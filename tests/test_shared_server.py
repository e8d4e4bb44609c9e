"""The servers of a test run end with it, however that ends."""

from pathlib import Path

import psutil
import pytest

from tests import kafka_fixtures, postgres_fixtures
from tests.cli.running_service import wait_until
from tests.kafka.programs import caches

GONE_WITHIN_S = 20.0

CACHES = caches()
"""`pytester` gives its runs another home, where no Kafka has been fetched."""

RUN_OF_ONE_TEST = """
    import os
    import signal

    import psycopg

    def test_that_ends_its_run(dsn, kafka, own_kafka):
        with psycopg.connect(dsn) as connection:
            connection.execute("SELECT 1")
        for variable in ("{postgres}", "{kafka}"):
            print("server in", os.environ[variable], flush=True)
        print("broker in", own_kafka.folder, flush=True)
        os.kill(os.getpid(), signal.{ending})
"""


@pytest.mark.parametrize("ending", ["SIGINT", "SIGKILL"])
def test_nothing_is_left_of_a_run_that_was_cut_short(
    ending: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kafka: str
) -> None:
    monkeypatch.delenv(postgres_fixtures.FOLDER)
    monkeypatch.delenv(kafka_fixtures.FOLDER)
    monkeypatch.delenv(kafka_fixtures.GIVEN, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHES))
    variables = {"postgres": postgres_fixtures.FOLDER, "kafka": kafka_fixtures.FOLDER}
    pytester.makepyfile(RUN_OF_ONE_TEST.format(ending=ending, **variables))
    plugins = ("-p", "tests.postgres_fixtures", "-p", "tests.kafka_fixtures")
    result = pytester.runpytest_subprocess(*plugins, "-s")
    shared, own = folders_named("server in ", result), folders_named("broker in ", result)
    assert (len(shared), len(own)) == (2, 1)
    wait_until(lambda: not any(folder.exists() for folder in shared), "folders are gone", GONE_WITHIN_S)
    wait_until(lambda: not any(map(is_used, shared + own)), "processes are gone", GONE_WITHIN_S)


def folders_named(after: str, result: pytest.RunResult) -> list[Path]:
    return [Path(line.rpartition(after)[2]) for line in result.outlines if after in line]


def is_used(folder: Path) -> bool:
    """Whether the command line of some process names it."""
    processes = psutil.process_iter(["cmdline"])
    return any(str(folder) in " ".join(process.info["cmdline"] or ()) for process in processes)
