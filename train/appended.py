"""A file that grows by whole pieces, each written at once: nothing is left in a buffer to fail a second time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Literal, Self


class AppendedFile:
    """A file open for appending. Every OSError names the file."""

    def __init__(self, path: Path, mode: Literal["ab", "xb"]) -> None:
        self.path = path
        self._file = path.open(mode, buffering=0)

    def write(self, piece: bytes) -> None:
        """Write all of a piece. On a disk that is full in the middle of it, a part remains."""
        left = memoryview(piece)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            error.filename = str(self.path)
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
