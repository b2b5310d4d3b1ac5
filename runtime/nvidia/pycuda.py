"""The driver through PyCUDA, whose objects free their resources when collected: so we keep them, by number.

PyCUDA has no CUDA graphs, and knows only its own streams: to wait for another library's, we wait for the whole GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache as once
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.runtime.nvidia.driver import RECORDING, Driver, Gpu, refusal

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which PyCUDA has no name for


class PyCuda(Driver):
    """Retains the first GPU's primary context."""

    name = "pycuda"
    captures = False

    def __init__(self) -> None:
        self._context = _primary_context()
        self._held: dict[int, Any] = {}  # memory by address, streams by handle, events by a number that we assign
        self._events = 0

    @classmethod
    def gpu(cls) -> Gpu:
        device = _first_device()
        with _refusals("Device"):
            version = int(_api().get_driver_version())
            major, minor = device.compute_capability()
            return Gpu(str(device.name()), (int(major), int(minor)), f"{version // 1000}.{version % 1000 // 10}")

    def close(self) -> None:
        self._held.clear()

    @contextmanager
    def active(self) -> Iterator[None]:
        with _refusals("push"):
            self._context.push()
        try:
            yield
        finally:
            with _refusals("pop"):
                _api().Context.pop()

    def memory(self) -> tuple[int, int]:
        with _refusals("mem_get_info"):
            free, total = _api().mem_get_info()
        return int(free), int(total)

    def allocate(self, size: int) -> int:
        with _refusals("mem_alloc", size):
            held = _api().mem_alloc(size)
        self._held[int(held)] = held
        return int(held)

    def free(self, address: int) -> None:
        with _refusals("free"):
            self._held.pop(address).free()

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        with _refusals("pagelocked_empty", size):
            buffer: NDArray[np.uint8] = _api().pagelocked_empty(size, np.uint8)
        return buffer

    def free_pinned(self, buffer: NDArray[np.uint8]) -> None:
        allocation: Any = buffer.base
        with _refusals("free"):
            allocation.free()

    def create_stream(self) -> int:
        with _refusals("Stream"):
            stream = _api().Stream(_NON_BLOCKING)
        self._held[int(stream.handle)] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        del self._held[stream]

    def create_event(self, *, timed: bool = False) -> int:
        flags = _api().event_flags
        with _refusals("Event"):
            event = _api().Event(flags.DEFAULT if timed else flags.DISABLE_TIMING)
        self._events -= 1  # negative, unlike any address or handle
        self._held[self._events] = event
        return self._events

    def destroy_event(self, event: int) -> None:
        del self._held[event]

    def record(self, event: int, stream: int) -> None:
        with _refusals("record"):
            self._held[event].record(self._held[stream])

    def wait(self, stream: int, event: int) -> None:
        with _refusals("wait_for_event"):
            self._held[stream].wait_for_event(self._held[event])

    def until(self, event: int) -> None:
        with _refusals("synchronize"):
            self._held[event].synchronize()

    def between_ms(self, first: int, second: int) -> float:
        with _refusals("time_till"):
            return float(self._held[first].time_till(self._held[second]))

    def wait_for(self, stream: int, other: int) -> None:
        self.synchronise()

    def copy_to_device(self, address: int, source: NDArray[Any], stream: int) -> None:
        with _refusals("memcpy_htod_async"):
            _api().memcpy_htod_async(address, source, self._held[stream])

    def copy_to_host(self, target: NDArray[Any], address: int, stream: int) -> None:
        with _refusals("memcpy_dtoh_async"):
            _api().memcpy_dtoh_async(target, address, self._held[stream])

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        with _refusals("memcpy_dtod_async"):
            _api().memcpy_dtod_async(target, source, size, self._held[stream])

    def record_graph(self, stream: int, call: Callable[[], None]) -> int:
        raise EngineError("PyCUDA records no CUDA graphs: pip install cuda-bindings")

    def launch_graph(self, graph: int, stream: int) -> None:
        raise EngineError("PyCUDA launches no CUDA graphs: pip install cuda-bindings")

    def destroy_graph(self, graph: int) -> None:
        raise EngineError("PyCUDA holds no CUDA graphs: pip install cuda-bindings")

    def synchronise(self, stream: int | None = None) -> None:
        with _refusals("synchronize"), nullcontext() if stream is not None else RECORDING:
            (_api().Context if stream is None else self._held[stream]).synchronize()


def _api() -> Any:
    return importlib.import_module("pycuda.driver")


def _first_device() -> Any:
    """Device 0. Raises EngineError, worded as a clause, if there is none."""
    try:
        api = _api()
    except (ImportError, OSError) as error:  # PyCUDA is linked to the driver's library
        raise EngineError("no NVIDIA driver is installed") from error
    try:
        api.init()
        if not api.Device.count():
            raise EngineError("the NVIDIA driver shows no GPU")
        return api.Device(0)
    except api.Error as error:
        raise EngineError(f"the NVIDIA driver does not start ({error})") from error


@once
def _primary_context() -> Any:
    """The primary context, retained once for the whole process: PyCUDA releases it only while the context is the
    thread's current one, and leaves it current."""
    device = _first_device()
    with _refusals("retain_primary_context"):
        return device.retain_primary_context()


@contextmanager
def _refusals(call: str, size: int | None = None) -> Iterator[None]:
    """Turn what PyCUDA raises within the block into an EngineError."""
    try:
        yield
    except _api().Error as error:
        raise refusal(call, str(error), size) from error
