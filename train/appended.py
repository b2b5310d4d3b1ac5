"""An append-only file: each piece is written at once, so nothing is left in a buffer to fail a second time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


class AppendedFile:
    """A file open for appending; close it at the end. Every OSError names the file."""

    def __init__(self, path: Path, mode: Literal["ab", "xb"]) -> None:
        self.path = path
        self._file = path.open(mode, buffering=0)

    def write(self, piece: bytes) -> None:
        """Write all of a piece. If the disk fills up on the way, a part of it remains."""
        left = memoryview(piece)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            error.filename = str(self.path)
            raise

    def close(self) -> None:
        self._file.close()
