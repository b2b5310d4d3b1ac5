"""What we use of the NVIDIA driver: memory, page-locked host memory, streams, events, copies, CUDA graphs.

Two packages provide it: cuda-python (its bindings), and PyCUDA. Both work in the device's primary context, as the
engines and PyTorch do, so that all of them see each other's memory. Handles and addresses are plain numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from numpy import uint8
from numpy.typing import NDArray

from starcast.errors import EngineError

# While any thread records a CUDA graph, no thread may wait for the whole context: both would fail, in every capture
# mode and library. Recording holds this lock, and so does waiting for the context.
RECORDING = Lock()


@dataclass(frozen=True)
class Gpu:
    """A GPU, described without a context on it. `driver`: the newest CUDA that its driver supports, as `13.0`."""

    name: str
    compute_capability: tuple[int, int]
    driver: str

    @property
    def sm(self) -> str:
        """Its architecture as compilers name it: `sm89`."""
        major, minor = self.compute_capability
        return f"sm{major}{minor}"

    def lacks(self, cuda: int | None) -> str | None:
        """Why its driver cannot run code made for that CUDA major version, as a clause; None if it can, or if the
        version is unknown. Within a major version, older drivers run newer libraries."""
        if cuda is None or int(self.driver.partition(".")[0]) >= cuda:
            return None
        return f"made for CUDA {cuda}, and the NVIDIA driver knows {self.driver}: update the driver"


class Driver(ABC):
    """One reference to the primary context. Call everything but `active` and `close` within `active`.

    Every method raises EngineError where the driver refuses.
    """

    name: str
    captures: bool  # whether it records CUDA graphs

    @classmethod
    @abstractmethod
    def gpu(cls) -> Gpu:
        """The GPU, without a context on it. Raises EngineError, worded as a clause, if there is none."""

    @abstractmethod
    def close(self) -> None:
        """Release the context."""

    @abstractmethod
    def active(self) -> AbstractContextManager[None]:
        """Make the context this thread's current one within the block, and restore the previous one after it."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Bytes of GPU memory: free, and in total."""

    @abstractmethod
    def allocate(self, size: int) -> int:
        """Allocate bytes on the GPU, and return their address."""

    @abstractmethod
    def free(self, address: int) -> None: ...

    @abstractmethod
    def allocate_pinned(self, size: int) -> NDArray[uint8]:
        """Allocate page-locked host memory, bytes [size], which the GPU copies from and to without the CPU."""

    @abstractmethod
    def free_pinned(self, buffer: NDArray[uint8]) -> None: ...

    @abstractmethod
    def create_stream(self) -> int:
        """Create a queue of work that does not wait for the default stream."""

    @abstractmethod
    def destroy_stream(self, stream: int) -> None: ...

    @abstractmethod
    def create_event(self, *, timed: bool = False) -> int:
        """Create a mark to set in a stream; it records the time only if it is `timed`."""

    @abstractmethod
    def destroy_event(self, event: int) -> None: ...

    @abstractmethod
    def record(self, event: int, stream: int) -> None:
        """Set the mark after all the work queued in the stream so far."""

    @abstractmethod
    def wait(self, stream: int, event: int) -> None:
        """Make the stream's next work wait until the mark has been passed."""

    @abstractmethod
    def until(self, event: int) -> None:
        """Block this thread until the mark has been passed."""

    @abstractmethod
    def between_ms(self, first: int, second: int) -> float:
        """Milliseconds by the GPU's own clock between two timed marks, both of which have been passed."""

    @abstractmethod
    def wait_for(self, stream: int, other: int) -> None:
        """Make the stream's next work wait until another library's stream has done all the work queued in it so far."""

    @abstractmethod
    def copy_to_device(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Copy page-locked host memory to the GPU."""

    @abstractmethod
    def copy_to_host(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Copy from the GPU to page-locked host memory."""

    @abstractmethod
    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy between two addresses of the GPU."""

    @abstractmethod
    def record_graph(self, stream: int, call: Callable[[], None]) -> int:
        """Record the work that `call` queues in the stream, without running it. Returns a CUDA graph, ready to
        launch."""

    @abstractmethod
    def launch_graph(self, graph: int, stream: int) -> None: ...

    @abstractmethod
    def destroy_graph(self, graph: int) -> None: ...

    @abstractmethod
    def synchronise(self, stream: int | None = None) -> None:
        """Block this thread until a stream is done; None: everything in the context."""


def refusal(call: str, code: str, size: int | None = None) -> EngineError:
    """The error for a call that the driver refused, with the driver's code or message."""
    if "OUT_OF_MEMORY" in code.upper() or "out of memory" in code.lower():
        amount = "" if size is None else f" for {max(1, size >> 20)} MiB"
        return EngineError(
            f"the GPU has no memory left{amount} ({call}): translate smaller batches or images, or end other "
            "programs that use the GPU"
        )
    return EngineError(
        f"the NVIDIA driver failed in {call} ({code}): start again; if it happens again, update the driver"
    )
