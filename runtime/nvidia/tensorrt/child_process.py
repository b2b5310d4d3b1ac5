"""Run a build in a child process: its progress, its output, its crash, and its end."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

import msgspec

from starcast.errors import EngineError
from starcast.runtime.nvidia.tensorrt.messages import Answer, Built, Failed, Progress, Request

# -P: like a console script, do not import from the current folder, whose files could have a library's name
COMMAND = (sys.executable, "-P", "-m", "starcast.runtime.nvidia.tensorrt.child")
GRACE_S = 2.0  # for a build to stop between two steps, before it is killed
SILENCE_S = 3600.0  # no step takes that long: the build hangs
_TICK_S = 0.25  # how soon Ctrl-C is seen where a wait cannot be interrupted
_LAST_LINES = 100  # of stderr to keep

_Lines = queue.Queue[bytes | None]  # None: the end


def build_in_child(
    request: Request,
    progress: Callable[[float], None] = lambda done: None,
    *,
    command: Iterable[str] = COMMAND,
    silence: float = SILENCE_S,
) -> float:
    """Build an engine, and return the seconds it took. Raises EngineError, worded as a clause, if it fails or crashes.

    However the call ends, even by KeyboardInterrupt, the child process ends, too.
    """
    noise: deque[str] = deque(maxlen=_LAST_LINES)
    with _run_child(command, noise) as (process, lines):
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # the child ended at once: its own reason follows
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            process.stdin.flush()
        for line in _until_end(lines, silence):
            match msgspec.json.decode(line, type=Answer):
                case Progress(done):
                    progress(done)
                case Built(seconds):
                    return seconds
                case Failed(reason):
                    raise EngineError(reason)
        status = process.wait()
    raise EngineError(_crash(status, noise))  # by now all of stderr has been read


@contextmanager
def _run_child(command: Iterable[str], noise: deque[str]) -> Iterator[tuple[subprocess.Popen[bytes], _Lines]]:
    """The process and the lines it writes. On the way out it is asked to stop, then killed."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    lines: _Lines = queue.Queue()
    readers = (
        threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True),
        threading.Thread(target=_read_noise, args=(process.stderr, noise), daemon=True),
    )
    for reader in readers:
        reader.start()
    try:
        yield process, lines
    finally:
        try:
            with contextlib.suppress(OSError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        finally:  # even after a second Ctrl-C
            process.kill()
            process.wait()
            for reader in readers:
                reader.join()


def _until_end(lines: _Lines, silence: float) -> Iterator[bytes]:
    quiet = 0.0
    while True:
        try:
            line = lines.get(timeout=_TICK_S)
        except queue.Empty:
            quiet += _TICK_S
            if quiet > silence:
                raise EngineError(f"it wrote nothing for {silence:.0f} s, and was ended") from None
            continue
        if line is None:
            return
        quiet = 0.0
        yield line


def _read_lines(stream: IO[bytes], lines: _Lines) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _read_noise(stream: IO[bytes], noise: deque[str]) -> None:
    with stream:
        for line in stream:
            noise.append(line.decode(errors="replace").strip())


def _crash(status: int, noise: Iterable[str]) -> str:
    """`the compiler ended with SIGSEGV and without an engine: its last line`."""
    said = [line for line in noise if line.strip(" ^~-=")]
    how = f"status {status}" if status >= 0 else _signal_name(-status)
    last = f": {said[-1][:240]}" if said else ""
    return f"the compiler ended with {how} and without an engine{last}"


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}, as where memory runs out" if name == "SIGKILL" else name
