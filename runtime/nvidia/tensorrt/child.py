"""Build an engine in a separate process: a compiler that aborts ends this one, not the user's.

    python -m starcast.runtime.nvidia.tensorrt.child

A Request comes on stdin, Answers go to stdout, and what the library prints goes to stderr.

The parent keeps stdin open while it wants the engine. When stdin closes, the build stops.
"""

from __future__ import annotations

import ctypes
import io
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from starcast.errors import StarcastError
from starcast.runtime.engines.base import one_line
from starcast.runtime.engines.cache import read_sealed, write_sealed
from starcast.runtime.nvidia.tensorrt.compiler import compile_engine
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.nvidia.tensorrt.messages import Answer, Built, Failed, Progress, Request

_EVERY_S = 0.05  # between progress messages: a phase may take hundreds of steps in that time


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of a terminal's processes: the parent decides
    say = _answers()
    orders = io.FileIO(0, closefd=False)  # unbuffered: a thread that waits with a buffer's lock cannot be ended
    request = msgspec.json.decode(orders.readline(), type=Request)
    unwanted = threading.Event()

    def watch() -> None:
        orders.read(1)
        unwanted.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        say(_build(request, say, unwanted.is_set))
    except StarcastError as error:
        say(Failed(str(error)))
    except Exception as error:  # noqa: BLE001 - whatever the library raises is the reason
        say(Failed(one_line(error)))


def _build(request: Request, say: Callable[[Answer], None], unwanted: Callable[[], bool]) -> Answer:
    last = 0.0

    def progress(done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _EVERY_S:
            last = now
            say(Progress(done))

    began = time.monotonic()
    output = Path(request.output).absolute()
    timings = Path(request.timings).absolute() if request.timings is not None else None
    request = msgspec.structs.replace(request, graph=reachable(Path(request.graph)))
    engine, measured = compile_engine(
        FLAVOURS[request.flavour].load(), request, read_sealed(timings) if timings else None, progress, unwanted
    )
    seconds = time.monotonic() - began
    output.write_bytes(memoryview(engine))
    if timings is not None and measured is not None:
        write_sealed(timings, measured)
    return Built(seconds)


def reachable(graph: Path, *, windows: bool = os.name == "nt") -> str:
    """A path to the graph that the library can open. On Windows it accepts only paths in the system's code page. Where
    a folder's name does not fit, this process changes into that folder."""
    if not windows or str(graph.absolute()).isascii():
        return str(graph)
    kernel = getattr(ctypes, "windll", None)
    if kernel is not None:
        kernel.kernel32.SetDllDirectoryW("")  # otherwise Windows would also search the bundle's folder for libraries
    os.chdir(graph.absolute().parent)
    return graph.name


def _answers() -> Callable[[Answer], None]:
    """A function that writes an answer to stdout. From now on nothing else does: the library's prints go to stderr."""
    stdout = os.dup(1)
    os.dup2(2, 1)

    def say(answer: Answer) -> None:
        os.write(stdout, msgspec.json.encode(answer) + b"\n")

    return say


if __name__ == "__main__":
    main()
