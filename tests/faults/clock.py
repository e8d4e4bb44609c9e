"""The wall clocks of processes, which can be made to jump. The database's clock, which decides, never does.

It needs a C compiler, for a few lines that stand between a process and its C library (`clock.c`).
"""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("clock.c")

NANOSECONDS: Final = 1_000_000_000

COMPILE_WITHIN_S: Final = 60


class Clock:
    """A clock that the processes with its `environment` share."""

    def __init__(self, file: Path, library: Path | None) -> None:
        self._file = file
        self._library = library
        self.set_off(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs in its environment; empty where clocks cannot be made to jump."""
        if self._library is None:
            return {}
        return {"LD_PRELOAD": str(self._library), "FAULTS_CLOCK": str(self._file)}

    def set_off(self, seconds: float) -> None:
        """Let it go ahead by so much, or behind; in place, since processes have the file mapped."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(int(seconds * NANOSECONDS).to_bytes(8, "little", signed=True))


def compiled(folder: Path) -> Path | None:
    """Compile the few lines; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "clock.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"],
        check=True,
        timeout=COMPILE_WITHIN_S,
    )
    return library
