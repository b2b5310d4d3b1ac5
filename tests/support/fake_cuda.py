"""A GPU made of numpy: what `cuda.bindings.driver` offers, as far as the runtime asks for it.

Whatever is given to a stream is put off, and done in any order that the streams and events allow: `chance` picks one,
or, without it, all is done as late as it may be. A copy that nobody waited for then brings yesterday's bytes. All that
is asked is in `log`. Wrong use (memory freed twice, a copy from memory that is not page-locked, no context, an
allocation while a CUDA graph is recorded) is an AssertionError. The constants are the real package's.
"""

# ruff: noqa: N802, N803 (the driver's own names)

from __future__ import annotations

import ctypes
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from starcast.runtime.nvidia import cuda_python, first_gpu

LEGACY = 1  # the default stream, whose handle needs no creation


def install(patch: pytest.MonkeyPatch, card: FakeCuda) -> FakeCuda:
    """Let cuda-python's implementation ask this GPU."""
    patch.setattr(cuda_python, "_api", lambda: card)
    patch.setattr(first_gpu, "driver_class", lambda: cuda_python.CudaPython)
    first_gpu._ask.cache_clear()
    return card


@dataclass
class _Stream:
    work: list[tuple[str, Any]] = field(default_factory=list)  # ("do", call) | ("mark", (event, turn)) | ("wait", same)
    recording: list[Callable[[], None]] | None = None


class FakeCuda:
    """Stands where the module stands. `card` None: the driver shows no device; `memory`: what there is to allocate."""

    def __init__(
        self, chance: random.Random | None = None, *, card: str | None = "Fake RTX",
        compute_capability: tuple[int, int] = (8, 9), memory: int = 1 << 30, starts: bool = True,
        version: int = 13010,
    ) -> None:  # fmt: skip
        real = pytest.importorskip("cuda.bindings.driver", reason="the fake GPU's constants are cuda-python's")

        self.CUresult = real.CUresult
        self.CUdevice_attribute = real.CUdevice_attribute
        self.CUstream_flags = real.CUstream_flags
        self.CUevent_flags = real.CUevent_flags
        self.CUstreamCaptureMode = real.CUstreamCaptureMode
        self.card, self.compute_capability, self.memory, self.starts = card, compute_capability, memory, starts
        self.chance, self.version = chance, version
        self.log: list[tuple[Any, ...]] = []
        self.asked: Counter[str] = Counter()
        self.held: dict[int, tuple[str, Any]] = {}  # everything that is to be freed: handle or address -> kind, thing
        self.retained = 0
        self.contexts: list[str] = []
        self.fails: dict[str, str] = {}  # function -> name of the code that its next call gives
        self._next = 0x10000
        self._streams: dict[int, _Stream] = {LEGACY: _Stream()}
        self._marks: dict[int, tuple[int, int]] = {}  # event -> turns recorded, turns passed
        self._passed_at: dict[int, int] = {}  # timed event -> what had been done by then, a millisecond each
        self._done = 0

    # what tests look at

    def leaks(self) -> list[str]:
        """What is still held."""
        return sorted(kind for kind, _ in self.held.values()) + ["context"] * self.retained

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        """The GPU's bytes at an address, to be read or written."""
        for start, (kind, bytes_) in self.held.items():
            if kind == "memory" and start <= address and address + size <= start + len(bytes_):
                return bytes_[address - start : address - start + size]
        raise AssertionError(f"{size} bytes at {address:#x} are not allocated")

    def enqueue(self, stream: int, call: Callable[[], None]) -> None:
        """Give a stream something to do: what an engine's kernels are."""
        self._in_context()
        self._give(stream, ("do", call))

    def finish(self) -> None:
        """Do all that is left."""
        for stream in list(self._streams):
            self._drain(stream)

    # the driver's functions

    def cuInit(self, Flags: int) -> tuple[Any, ...]:
        if not self.starts:
            raise RuntimeError("the driver's library cannot be found")
        return (self._code("SUCCESS" if self.card else "ERROR_NO_DEVICE"),)

    def cuDriverGetVersion(self) -> tuple[Any, ...]:
        return self._code(), self.version

    def cuDeviceGetCount(self) -> tuple[Any, ...]:
        return self._code(), int(self.card is not None)

    def cuDeviceGet(self, ordinal: int) -> tuple[Any, ...]:
        return self._code(), ordinal

    def cuDeviceGetName(self, length: int, dev: int) -> tuple[Any, ...]:
        assert self.card is not None
        return self._code(), self.card.encode().ljust(length, b"\0")

    def cuDeviceGetAttribute(self, attrib: Any, dev: int) -> tuple[Any, ...]:
        major = attrib == self.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        assert major or attrib == self.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
        return self._code(), self.compute_capability[0 if major else 1]

    def cuDevicePrimaryCtxRetain(self, dev: int) -> tuple[Any, ...]:
        self.retained += 1
        return self._code(), "primary"

    def cuDevicePrimaryCtxRelease(self, dev: int) -> tuple[Any, ...]:
        assert self.retained > 0
        self.retained -= 1
        assert self.retained or not self.held, "the context takes along what is still held"
        return (self._code(),)

    def cuCtxPushCurrent(self, ctx: str) -> tuple[Any, ...]:
        assert ctx == "primary"
        assert self.retained, "the context is gone"
        self.contexts.append(ctx)
        return (self._code(),)

    def cuCtxPopCurrent(self) -> tuple[Any, ...]:
        code = self.fails.pop("cuCtxPopCurrent", None)
        return self._code(code or "SUCCESS"), self.contexts.pop()

    def cuCtxSynchronize(self) -> tuple[Any, ...]:
        self._nothing_recorded()
        return self._asked("cuCtxSynchronize", then=self.finish)

    def cuMemGetInfo(self) -> tuple[Any, ...]:
        self._in_context()
        used = sum(len(thing) for kind, thing in self.held.values() if kind == "memory")
        return self._code(), self.memory - used, self.memory

    def cuMemAlloc(self, bytesize: int) -> tuple[Any, ...]:
        self._nothing_recorded()
        _, free, _ = self.cuMemGetInfo()
        if bytesize > free:
            return self._code("ERROR_OUT_OF_MEMORY"), 0
        fresh = np.full(bytesize, 0xAB, np.uint8)  # memory is never zero by itself
        return self._asked("cuMemAlloc", gives=lambda: self._hold("memory", fresh, bytesize))

    def cuMemFree(self, dptr: int) -> tuple[Any, ...]:
        self._nothing_recorded()
        # the real one waits for the GPU as well
        return self._asked("cuMemFree", then=lambda: (self.finish(), self._drop("memory", dptr)))

    def cuMemHostAlloc(self, bytesize: int, Flags: int) -> tuple[Any, ...]:
        self._nothing_recorded()
        buffer = np.full(bytesize, 0xCD, np.uint8)

        def hold() -> int:
            self.held[buffer.ctypes.data] = "pinned", buffer
            return buffer.ctypes.data

        return self._asked("cuMemHostAlloc", gives=hold)

    def cuMemFreeHost(self, p: int) -> tuple[Any, ...]:
        return self._asked("cuMemFreeHost", then=lambda: self._drop("pinned", p))

    def cuStreamCreate(self, Flags: int) -> tuple[Any, ...]:
        assert Flags == 1, "a stream that waits for the default one overlaps with nothing"

        def hold() -> int:
            handle = self._hold("stream", None)
            self._streams[handle] = _Stream()
            return handle

        return self._asked("cuStreamCreate", gives=hold)

    def cuStreamDestroy(self, hStream: int) -> tuple[Any, ...]:
        self._drain(hStream)
        del self._streams[hStream]
        return self._asked("cuStreamDestroy", then=lambda: self._drop("stream", hStream))

    def cuStreamSynchronize(self, hStream: int) -> tuple[Any, ...]:
        self._nothing_recorded()
        return self._asked("cuStreamSynchronize", hStream, then=lambda: self._drain(hStream))

    def cuStreamWaitEvent(self, hStream: int, hEvent: int, Flags: int) -> tuple[Any, ...]:
        turn = self._marks[hEvent][0]
        return self._asked(
            "cuStreamWaitEvent", hStream, hEvent, then=lambda: self._give(hStream, ("wait", (hEvent, turn)))
        )

    def cuEventCreate(self, Flags: int) -> tuple[Any, ...]:
        assert Flags in {int(self.CUevent_flags.CU_EVENT_DEFAULT), int(self.CUevent_flags.CU_EVENT_DISABLE_TIMING)}

        def hold() -> int:
            handle = self._hold("event", "timed" if Flags == int(self.CUevent_flags.CU_EVENT_DEFAULT) else None)
            self._marks[handle] = 0, 0
            return handle

        return self._asked("cuEventCreate", gives=hold)

    def cuEventDestroy(self, hEvent: int) -> tuple[Any, ...]:
        return self._asked("cuEventDestroy", then=lambda: self._drop("event", hEvent))

    def cuEventRecord(self, hEvent: int, hStream: int) -> tuple[Any, ...]:
        turn, passed = self._marks[hEvent][0] + 1, self._marks[hEvent][1]
        self._marks[hEvent] = turn, passed
        return self._asked("cuEventRecord", hEvent, hStream, then=lambda: self._give(hStream, ("mark", (hEvent, turn))))

    def cuEventSynchronize(self, hEvent: int) -> tuple[Any, ...]:
        return self._asked("cuEventSynchronize", hEvent, then=lambda: self._pass(hEvent, self._marks[hEvent][0]))

    def cuEventElapsedTime(self, hStart: int, hEnd: int) -> tuple[Any, ...]:
        for mark in (hStart, hEnd):
            assert self.held[mark] == ("event", "timed"), "it takes no time"
            assert self._marks[mark][0] == self._marks[mark][1] > 0, "it has not been passed"
        return *self._asked("cuEventElapsedTime"), float(self._passed_at[hEnd] - self._passed_at[hStart])

    def cuMemcpyHtoDAsync(self, dstDevice: int, srcHost: int, ByteCount: int, hStream: int) -> tuple[Any, ...]:
        self._page_locked(srcHost, ByteCount)

        def copy() -> None:
            self.at(dstDevice, ByteCount)[:] = np.frombuffer(ctypes.string_at(srcHost, ByteCount), np.uint8)

        return self._asked("cuMemcpyHtoDAsync", dstDevice, hStream, then=lambda: self._give(hStream, ("do", copy)))

    def cuMemcpyDtoHAsync(self, dstHost: int, srcDevice: int, ByteCount: int, hStream: int) -> tuple[Any, ...]:
        self._page_locked(dstHost, ByteCount)

        def copy() -> None:
            ctypes.memmove(dstHost, self.at(srcDevice, ByteCount).tobytes(), ByteCount)

        return self._asked("cuMemcpyDtoHAsync", srcDevice, hStream, then=lambda: self._give(hStream, ("do", copy)))

    def cuMemcpyDtoDAsync(self, dstDevice: int, srcDevice: int, ByteCount: int, hStream: int) -> tuple[Any, ...]:
        def copy() -> None:
            self.at(dstDevice, ByteCount)[:] = self.at(srcDevice, ByteCount)

        return self._asked(
            "cuMemcpyDtoDAsync", dstDevice, srcDevice, hStream, then=lambda: self._give(hStream, ("do", copy))
        )

    def cuStreamBeginCapture(self, hStream: int, mode: Any) -> tuple[Any, ...]:
        assert mode == self.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        assert hStream != LEGACY

        def begin() -> None:
            self._streams[hStream].recording = []

        return self._asked("cuStreamBeginCapture", hStream, then=begin)

    def cuStreamEndCapture(self, hStream: int) -> tuple[Any, ...]:
        calls = self._streams[hStream].recording
        assert calls is not None
        self._streams[hStream].recording = None
        return self._asked("cuStreamEndCapture", hStream, gives=lambda: self._hold("graph", calls))

    def cuGraphInstantiate(self, hGraph: int, flags: int) -> tuple[Any, ...]:
        calls = self.held[hGraph][1]
        return self._asked("cuGraphInstantiate", gives=lambda: self._hold("executable", calls))

    def cuGraphLaunch(self, hGraphExec: int, hStream: int) -> tuple[Any, ...]:
        calls = self.held[hGraphExec][1]
        return self._asked(
            "cuGraphLaunch", hGraphExec, hStream,
            then=lambda: self._give(hStream, ("do", lambda: [call() for call in calls])),
        )  # fmt: skip

    def cuGraphDestroy(self, hGraph: int) -> tuple[Any, ...]:
        return self._asked("cuGraphDestroy", then=lambda: self._drop("graph", hGraph))

    def cuGraphExecDestroy(self, hGraphExec: int) -> tuple[Any, ...]:
        return self._asked("cuGraphExecDestroy", then=lambda: self._drop("executable", hGraphExec))

    # how it works

    def _code(self, name: str = "SUCCESS") -> Any:
        return getattr(self.CUresult, f"CUDA_{name}")  # no Enum of the standard library: it has no subscripts

    def _asked(
        self, function: str, *facts: Any, then: Callable[[], Any] | None = None, gives: Callable[[], int] | None = None
    ) -> tuple[Any, ...]:
        self._in_context()
        code = self.fails.pop(function, None)
        if code is not None:
            return (self._code(code), 0) if gives else (self._code(code),)
        self.log.append((function, *facts))
        self.asked[function] += 1
        given = () if gives is None else (gives(),)
        if then is not None:
            then()
        self._advance()
        return (self._code(), *given)

    def _in_context(self) -> None:
        assert self.contexts, "no context is current"

    def _nothing_recorded(self) -> None:
        assert all(stream.recording is None for stream in self._streams.values()), "not while a graph is recorded"

    def _page_locked(self, address: int, size: int) -> None:
        assert any(
            kind == "pinned" and start <= address and address + size <= start + len(thing)
            for start, (kind, thing) in self.held.items()
        ), "the copy would not be asynchronous: its host memory is not page-locked"

    def _hold(self, kind: str, thing: Any, size: int = 0) -> int:
        handle = self._next
        self._next += 0x1000 * (1 + -(-size // 0x1000))
        self.held[handle] = kind, thing
        return handle

    def _drop(self, kind: str, handle: int) -> None:
        assert handle in self.held, f"{kind} {handle:#x} was freed before"
        assert self.held.pop(handle)[0] == kind

    def _give(self, stream: int, what: tuple[str, Any]) -> None:
        queue = self._streams[stream]
        if queue.recording is None:
            queue.work.append(what)
        elif what[0] == "do":
            queue.recording.append(what[1])
        else:
            raise AssertionError("events are not recorded here")

    def _advance(self) -> None:
        """Do something of what could be done, by chance."""
        while self.chance is not None and self.chance.random() < 0.6:
            self._step(self.chance.choice(list(self._streams)))

    def _step(self, stream: int) -> bool:
        """Do the next thing of a stream; False where there is none, or it has to wait."""
        work = self._streams[stream].work
        if not work:
            return False
        kind, what = work[0]
        if kind == "wait" and what[0] in self._marks and self._marks[what[0]][1] < what[1]:
            return False
        work.pop(0)
        if kind == "do":
            what()
            self._done += 1
        elif kind == "mark" and what[0] in self._marks:
            self._marks[what[0]] = self._marks[what[0]][0], max(self._marks[what[0]][1], what[1])
            self._passed_at[what[0]] = self._done
        return True

    def _drain(self, stream: int) -> None:
        while self._streams[stream].work:
            self._step(stream) or self._unblock(stream)

    def _pass(self, event: int, turn: int) -> None:
        """Do no more than what a mark stands behind."""
        while self._marks[event][1] < turn:
            stream = next(
                handle for handle, queue in self._streams.items()
                if ("mark", (event, turn)) in queue.work
            )  # fmt: skip
            self._step(stream) or self._unblock(stream)

    def _unblock(self, stream: int) -> None:
        kind, (event, turn) = self._streams[stream].work[0]
        assert kind == "wait"
        self._pass(event, turn)
