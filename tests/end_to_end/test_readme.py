"""The README's visit, run as it is written, against a live service."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running_service import RunningService, environment, free_port, running_service

PROJECT = Path(__file__).parents[2]
VISIT = re.compile(r"<!-- visit:.*?-->\n```bash\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.xdist_group("up")


@pytest.fixture
def service() -> Iterator[RunningService]:
    folder = Path(tempfile.mkdtemp(prefix="ticketing-readme-"))
    folder.chmod(0o711)
    with running_service(folder / "data", free_port()) as running:
        yield running
    shutil.rmtree(folder)


def test_the_visit_of_the_readme_can_be_followed_word_for_word(service: RunningService) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    visit = VISIT.findall((PROJECT / "README.md").read_text())
    assert len(visit) == 1
    script = visit[0].replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
    followed = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=PROJECT,
        env=environment(service.data_folder, service.port),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert '"status":"REFUNDED"' in followed.stdout
    assert "Every rule was kept." in followed.stdout


def test_answers_do_not_wait_for_an_acknowledgement(service: RunningService) -> None:
    """On a socket without TCP_NODELAY each answer on a kept-alive connection takes 40 ms more."""
    took = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{time_total}\n", *[_healthz(service)] * 21],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    seconds = sorted(float(line) for line in took.stdout.split() if re.fullmatch(r"[0-9.]+", line))
    assert seconds[len(seconds) // 2] < 0.03


def _healthz(service: RunningService) -> str:
    return f"http://127.0.0.1:{service.port}/healthz"
