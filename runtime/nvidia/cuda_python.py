"""The driver through cuda-python's bindings, which have one function for each of the driver's."""

from __future__ import annotations

import ctypes
import gc
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.runtime.nvidia.driver import RECORDING, Driver, Gpu, refusal


class CudaPython(Driver):
    """Retains the first GPU's primary context."""

    name = "cuda-python"
    captures = True

    def __init__(self) -> None:
        self._device = _first_device()
        self._context = _call("cuDevicePrimaryCtxRetain", self._device)

    @classmethod
    def gpu(cls) -> Gpu:
        device = _first_device()
        attributes = _api().CUdevice_attribute
        name: bytes = _call("cuDeviceGetName", 256, device)
        version: int = _call("cuDriverGetVersion")
        major: int = _call("cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
        minor: int = _call("cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)
        return Gpu(
            name.partition(b"\0")[0].decode(errors="replace"),
            (int(major), int(minor)),
            f"{version // 1000}.{version % 1000 // 10}",
        )

    def close(self) -> None:
        _call("cuDevicePrimaryCtxRelease", self._device)

    @contextmanager
    def active(self) -> Iterator[None]:
        _call("cuCtxPushCurrent", self._context)
        try:
            yield
        except BaseException:
            with suppress(EngineError):  # the first error is the one to raise
                _call("cuCtxPopCurrent")
            raise
        _call("cuCtxPopCurrent")

    def memory(self) -> tuple[int, int]:
        free, total = _call("cuMemGetInfo")
        return int(free), int(total)

    def allocate(self, size: int) -> int:
        return int(_call("cuMemAlloc", size, size=size))

    def free(self, address: int) -> None:
        _call("cuMemFree", address)

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        address = int(_call("cuMemHostAlloc", size, 0, size=size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_pinned(self, buffer: NDArray[np.uint8]) -> None:
        _call("cuMemFreeHost", buffer.ctypes.data)

    def create_stream(self) -> int:
        return int(_call("cuStreamCreate", int(_api().CUstream_flags.CU_STREAM_NON_BLOCKING)))

    def destroy_stream(self, stream: int) -> None:
        _call("cuStreamDestroy", stream)

    def create_event(self, *, timed: bool = False) -> int:
        flags = _api().CUevent_flags
        return int(_call("cuEventCreate", int(flags.CU_EVENT_DEFAULT if timed else flags.CU_EVENT_DISABLE_TIMING)))

    def destroy_event(self, event: int) -> None:
        _call("cuEventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        _call("cuEventRecord", event, stream)

    def wait(self, stream: int, event: int) -> None:
        _call("cuStreamWaitEvent", stream, event, 0)

    def until(self, event: int) -> None:
        _call("cuEventSynchronize", event)

    def between_ms(self, first: int, second: int) -> float:
        return float(_call("cuEventElapsedTime", first, second))

    def wait_for(self, stream: int, other: int) -> None:
        event = self.create_event()
        try:
            self.record(event, other)
            self.wait(stream, event)
        finally:
            self.destroy_event(event)  # the driver frees it when the wait is over

    def copy_to_device(self, address: int, source: NDArray[Any], stream: int) -> None:
        _call("cuMemcpyHtoDAsync", address, source.ctypes.data, source.nbytes, stream)

    def copy_to_host(self, target: NDArray[Any], address: int, stream: int) -> None:
        _call("cuMemcpyDtoHAsync", target.ctypes.data, address, target.nbytes, stream)

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        _call("cuMemcpyDtoDAsync", target, source, size, stream)

    def record_graph(self, stream: int, call: Callable[[], None]) -> int:
        with RECORDING, _no_collection():
            # thread-local: other threads go on decoding and encoding in their own contexts
            _call("cuStreamBeginCapture", stream, _api().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            try:
                call()
            except BaseException:  # Ctrl-C included: a stream that is still recording is unusable
                with suppress(EngineError):
                    _call("cuGraphDestroy", _call("cuStreamEndCapture", stream))
                raise
            graph = _call("cuStreamEndCapture", stream)
        try:
            return int(_call("cuGraphInstantiate", graph, 0))
        finally:
            _call("cuGraphDestroy", graph)

    def launch_graph(self, graph: int, stream: int) -> None:
        _call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        _call("cuGraphExecDestroy", graph)

    def synchronise(self, stream: int | None = None) -> None:
        if stream is None:
            with RECORDING:
                _call("cuCtxSynchronize")
        else:
            _call("cuStreamSynchronize", stream)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection within the block: it could free an array's memory, which is not allowed during a
    recording."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _api() -> Any:
    return importlib.import_module("cuda.bindings.driver")


def _first_device() -> Any:
    """The handle of device 0. Raises EngineError, worded as a clause, if there is none."""
    try:
        code, *_ = _api().cuInit(0)
    except (RuntimeError, OSError, ImportError) as error:  # the driver's library is loaded at the first call
        raise EngineError("no NVIDIA driver is installed") from error
    if code.name == "CUDA_ERROR_NO_DEVICE" or (code.value == 0 and not _call("cuDeviceGetCount")):
        raise EngineError("the NVIDIA driver shows no GPU")
    if code.value != 0:
        raise EngineError(f"the NVIDIA driver does not start ({code.name})")
    return _call("cuDeviceGet", 0)


def _call(function: str, *arguments: Any, size: int | None = None) -> Any:
    """Call a function of the driver. Returns the values after its status code: none, one, or several."""
    code, *values = getattr(_api(), function)(*arguments)
    if code.value != 0:
        raise refusal(function, code.name, size)
    if len(values) < 2:
        return values[0] if values else None
    return tuple(values)
