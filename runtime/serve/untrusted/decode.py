"""Decode images that clients sent, in a process that may die: decoders are large, and written in C.

The process has a limit of memory, gets a limit of time for each image, and is started again after it died.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.untrusted.worker import FILE, LENGTH, NAME, SIZE

_BYTES_A_PIXEL = 16  # that decoding takes at most
_PROGRAM = 2**31  # address space of Python and its libraries
_LONGEST_ERROR = 4096


class Decoder:
    """Use it in `with`. Calls from several tasks follow each other."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="starcast-")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._end()
            self._folder.cleanup()

    async def __call__(self, content: bytes) -> NDArray[np.uint8]:
        """An encoded image as RGB [H, W, 3], upright and in sRGB. Raises ImageError."""
        return await asyncio.to_thread(self.decode, content)

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """As the call, but waits."""
        with self._lock:
            path = Path(self._folder.name) / FILE
            path.write_bytes(content)
            process = self._process or self._start()
            alarm = threading.Timer(self._limits.decode_s, process.kill)
            alarm.start()
            try:
                return self._ask(process)
            except (OSError, EOFError) as error:
                self._end()
                raise ImageError(f"{NAME} cannot be decoded: it is damaged, or takes too long") from error
            finally:
                alarm.cancel()
                path.unlink()

    def _ask(self, process: subprocess.Popen[bytes]) -> NDArray[np.uint8]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        if _read(process.stdout, 1) == b"E":
            [length] = LENGTH.unpack(_read(process.stdout, LENGTH.size))
            raise ImageError(_read(process.stdout, min(length, _LONGEST_ERROR)).decode(errors="replace"))
        height, width = SIZE.unpack(_read(process.stdout, SIZE.size))
        if height * width > self._limits.pixels:
            raise EOFError
        return np.frombuffer(_read(process.stdout, height * width * 3), np.uint8).reshape(height, width, 3)

    def _start(self) -> subprocess.Popen[bytes]:
        memory = _PROGRAM + _BYTES_A_PIXEL * self._limits.pixels
        command = [
            sys.executable, "-m", "starcast.runtime.serve.untrusted.worker", self._folder.name,
            str(self._limits.pixels), str(memory),
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(OSError):  # what it never read
                process.communicate()


def _read(stream: IO[bytes], count: int) -> bytes:
    """Exactly so many bytes. Raises EOFError."""
    content = stream.read(count)
    if len(content) != count:
        raise EOFError
    return content
