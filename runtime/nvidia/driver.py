"""What is asked of the card's driver: memory, page-locked host memory, streams, events, copies, CUDA graphs.

Two packages do it: cuda-python (its bindings), and PyCUDA. Both on the device's primary context, which the engines and
PyTorch use as well, so that all of them see each other's memory. Handles and addresses are plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from starcast.errors import EngineError, MissingExtraError
from starcast.runtime.nvidia.gpu import Gpu

# The context cannot be waited for while any thread records in it, whatever the mode and the library: both would fail.
# Who records holds this, and who waits for all of it.
RECORDING = Lock()


class Driver(Protocol):
    """One hold on the primary context. Everything but `active` and `close` is to be called within `active`.

    Every method raises EngineError where the driver refuses.
    """

    name: str
    captures: bool  # whether it records CUDA graphs

    @classmethod
    def gpu(cls) -> Gpu:
        """The card, without a context on it. Raises EngineError, with a clause, where there is none."""

    def close(self) -> None:
        """Let go of the context."""

    def active(self) -> AbstractContextManager[None]:
        """Makes the context this thread's current one within the block; the one before comes back after it."""

    def memory(self) -> tuple[int, int]:
        """Bytes of the card that are free, and all of them."""

    def allocate(self, size: int) -> int:
        """The address of so many bytes on the card."""

    def free(self, address: int) -> None: ...

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Host memory that the card copies from and to on its own: bytes [size]."""

    def free_pinned(self, buffer: NDArray[np.uint8]) -> None: ...

    def stream(self) -> int:
        """A queue that does not wait for the default one."""

    def end_stream(self, stream: int) -> None: ...

    def event(self, *, timed: bool = False) -> int:
        """A mark to be set in a stream; it takes the time only if it is `timed`."""

    def end_event(self, event: int) -> None: ...

    def record(self, event: int, stream: int) -> None:
        """Set the mark behind what the stream has to do by now."""

    def wait(self, stream: int, event: int) -> None:
        """What is given to the stream from now on begins when the mark has been passed."""

    def until(self, event: int) -> None:
        """Wait here until the mark has been passed."""

    def between_ms(self, first: int, second: int) -> float:
        """Milliseconds by the card's own clock between two timed marks, which have been passed."""

    def wait_for(self, stream: int, other: int) -> None:
        """What is given to the stream from now on begins when someone else's has done all that it has by now."""

    def to_device(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Copy page-locked host memory to the card."""

    def to_host(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Copy from the card to page-locked host memory."""

    def on_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy between two places of the card."""

    def recorded(self, stream: int, call: Callable[[], None]) -> int:
        """A CUDA graph of what a call gives to the stream, which is recorded and not done; ready to be launched."""

    def launch(self, graph: int, stream: int) -> None: ...

    def end_graph(self, graph: int) -> None: ...

    def synchronise(self, stream: int | None = None) -> None:
        """Wait for a stream, or for everything in the context."""


def can_ask() -> bool:
    """Whether a package is installed that asks the driver."""
    return (_installed("cuda") and _installed("cuda.bindings")) or _installed("pycuda")


def implementation() -> type[Driver]:
    """The class that there is a package for. Raises MissingExtraError, with a clause."""
    # a namespace package: of `cuda` alone, a toolkit may be what is installed
    if _installed("cuda") and _installed("cuda.bindings"):
        from starcast.runtime.nvidia.cuda_python import CudaPython

        return CudaPython
    if _installed("pycuda"):
        from starcast.runtime.nvidia.by_pycuda import ByPyCuda

        return ByPyCuda
    raise MissingExtraError(
        "neither cuda-bindings nor pycuda is installed, which ask for cards (pip install cuda-bindings)"
    )


def open_driver() -> Driver:
    """A hold on the first card's primary context. Raises MissingExtraError, EngineError."""
    return implementation()()


def refusal(call: str, code: str, size: int | None = None) -> EngineError:
    """The sentence for a call that the driver refused with a code of its own."""
    if "OUT_OF_MEMORY" in code.upper() or "out of memory" in code.lower():
        what = "" if size is None else f" for {max(1, size >> 20)} MiB"
        return EngineError(
            f"the card has no memory left{what} ({call}): translate smaller batches or pictures, or end other "
            "programs that use the card"
        )
    return EngineError(
        f"the NVIDIA driver failed in {call} ({code}): start again; if it happens again, update the driver"
    )


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: a stand-in without a spec, as tests put in
        return False
