"""The disk of the product's data folder, which can be made full, and roomy again.

It is a file system in memory of a size that can change. Making one needs rights that not every machine gives.
"""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

BYTES: Final = 2 * 1024**3
"""Taken from memory only as it is used."""

LEFT_BYTES: Final = 1024**2
"""A size below what is used is refused, and others write meanwhile; what is left is taken by a file."""

PAGE: Final = bytes(4096)

WITHIN_S: Final = 10


class Disk:
    """A folder on a disk of its own where that can be had, else an ordinary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_own = False
        """Whether it can be made full."""
        self._ballast = folder / "ballast"

    def __enter__(self) -> Self:
        self.folder.mkdir(mode=0o711)
        self.is_own = os.geteuid() == 0 and self._mount("-t", "tmpfs", "-o", _size(BYTES), "tmpfs")
        if self.is_own:
            self.folder.chmod(0o711)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_own:
            subprocess.run(["umount", "--lazy", self.folder], check=True, timeout=WITHIN_S)

    def fill(self) -> None:
        """Leave no space at all."""
        used = os.statvfs(self.folder)
        used_bytes = (used.f_blocks - used.f_bfree) * used.f_frsize
        self._mount("-o", f"remount,{_size(used_bytes + LEFT_BYTES)}")
        with suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
            while True:
                ballast.write(PAGE)

    def clear(self) -> None:
        """Give it its space back."""
        self._ballast.unlink(missing_ok=True)
        self._mount("-o", f"remount,{_size(BYTES)}")

    def _mount(self, *options: str) -> bool:
        ended = subprocess.run(
            ["mount", *options, self.folder], capture_output=True, timeout=WITHIN_S, check=False
        )
        return ended.returncode == 0


def _size(size_bytes: int) -> str:
    return f"size={size_bytes}"
