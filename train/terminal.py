"""Progress on standard error that cannot end a run: the terminal may close, a pipe break, a log's disk fill up."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Any, TextIO

from tqdm import tqdm


@dataclass(frozen=True)
class SteadyStream:
    """A stream whose failures to write are ignored. Equal ones write to the same stream: tqdm compares them."""

    stream: TextIO

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
            return self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def standard_error() -> Any:
    """Standard error as a steady stream."""
    return SteadyStream(sys.stderr)


def print_line(line: str) -> None:
    """Print a line above the progress bar, on standard error."""
    tqdm.write(line, file=standard_error())
