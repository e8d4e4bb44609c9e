"""One attack: schemathesis, in a process of its own, against a running service with a sale in it."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from tests.hostile.sale import ANSWERS, KEY, SEED, URL, put_on_sale

ROOT: Final = Path(__file__).parents[2]
CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")


class Outcome(NamedTuple):
    """What came of an attack."""

    ok: bool
    said: str
    answers: Counter[str]
    """How often each operation gave each status, by `STATUS METHOD PATH`."""


class Target:
    """A service that is attacked."""

    def __init__(self, url: str, admin_key: str) -> None:
        self._url = url
        self._admin_key = admin_key
        put_on_sale(url, admin_key)

    def attack(self, *options: str, seed: int, within_s: float) -> Outcome:
        """Attack it once, with these options of `schemathesis run`."""
        with tempfile.TemporaryDirectory() as folder:
            answers = Path(folder) / "answers.json"
            ours = {URL: self._url, KEY: self._admin_key, SEED: str(seed), ANSWERS: str(answers)}
            ran = subprocess.run(
                [
                    sys.executable, "-P", "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION),
                    "run", f"{self._url}/openapi.json", "--seed", str(seed), "--no-color", *options,
                ],
                env={**os.environ, **ours, "SCHEMATHESIS_HOOKS": "tests.hostile.hooks"},
                cwd=ROOT,  # where Hypothesis keeps its tables of characters, which take seconds to make
                capture_output=True,
                text=True,
                timeout=within_s,
                check=False,
            )  # fmt: skip
            said = ran.stdout + ran.stderr
            counted = Counter(json.loads(answers.read_text())) if answers.exists() else Counter()
            return Outcome(ran.returncode == 0, said, counted)
