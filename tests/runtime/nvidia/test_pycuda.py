"""PyCUDA's implementation, against a module with the names that its documentation gives (it cannot be installed
without the CUDA toolkit): https://documen.tician.de/pycuda/driver.html. No card has run it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from starcast.errors import EngineError
from starcast.runtime.nvidia import first_gpu, pycuda
from starcast.runtime.nvidia.cuda_python import CudaPython
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.pycuda import PyCuda


class Log(list):
    """What was asked, in order."""

    def call(self, name: str, gives=None):
        def asked(*arguments):
            self.append((name, *arguments))
            return gives

        return asked


def module(log: Log) -> ModuleType:
    """pycuda.driver."""
    made = ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    class Context:
        push, detach = log.call("push"), log.call("detach")
        pop = staticmethod(log.call("pop"))
        synchronize = staticmethod(log.call("Context.synchronize"))

    class Device:
        count = staticmethod(lambda: 1)

        def __init__(self, number: int) -> None:
            assert number == 0

        name = staticmethod(lambda: "Documented GPU")
        compute_capability = staticmethod(lambda: (8, 6))

        def retain_primary_context(self) -> Context:
            log.append(("retain",))
            return Context()

    class Allocation:
        def __init__(self, size: int) -> None:
            if size > 1 << 30:
                raise MemoryError("cuMemAlloc failed: out of memory")

        def __int__(self) -> int:
            return 0x9000

        free = log.call("free")

    class Stream:
        handle = 0x51

        def __init__(self, flags: int = 0) -> None:
            assert flags == 1

        synchronize = log.call("Stream.synchronize")
        wait_for_event = log.call("wait_for_event")

    class Event:
        def __init__(self, flags: int = 0) -> None:
            log.append(("Event", flags))

        record, synchronize = log.call("record"), log.call("Event.synchronize")
        time_till = log.call("time_till", gives=2.5)

    def pagelocked_empty(shape, dtype):
        # an array, of which `base` is what frees it
        return SimpleNamespace(base=SimpleNamespace(free=log.call("free pinned")), shape=(shape,), dtype=dtype)

    made.Error, made.MemoryError = Error, MemoryError
    made.Device, made.Context, made.Stream, made.Event = Device, Context, Stream, Event
    made.init, made.get_driver_version = lambda: None, lambda: 12080
    made.event_flags = SimpleNamespace(DEFAULT=0, DISABLE_TIMING=2)
    made.mem_alloc, made.pagelocked_empty, made.mem_get_info = Allocation, pagelocked_empty, lambda: (5, 9)
    for name in ("memcpy_htod_async", "memcpy_dtoh_async", "memcpy_dtod_async"):
        setattr(made, name, log.call(name))
    return made


@pytest.fixture
def log(monkeypatch) -> Iterator[Log]:
    made = Log()
    monkeypatch.setattr(pycuda, "_api", lambda api=module(made): api)
    pycuda._primary_context.cache_clear()
    yield made
    pycuda._primary_context.cache_clear()


def test_it_has_every_method_of_the_first_implementation():
    assert {name for name in vars(CudaPython) if not name.startswith("_")} == {
        name for name in vars(PyCuda) if not name.startswith("_")
    }


def test_it_is_taken_where_it_is_the_one_that_is_installed(monkeypatch):
    monkeypatch.setattr(first_gpu, "_has", lambda package: package == "pycuda")
    assert first_gpu.driver_class() is PyCuda


def test_a_gpu_is_described(log):
    assert PyCuda.gpu() == Gpu("Documented GPU", (8, 6), "12.8")


def test_the_primary_context_is_pushed_for_a_block_and_held_once_for_the_whole_process(log):
    for _ in range(2):
        held = PyCuda()
        with held.active():
            pass
        held.close()
    assert [name for name, *_ in log] == ["retain", "push", "pop", "push", "pop"]


def test_copies_go_to_their_stream_and_marks_into_theirs(log):
    held = PyCuda()
    stream, address, event = held.create_stream(), held.allocate(8), held.create_event()
    assert (stream, address) == (0x51, 0x9000)
    queue, mark = held._held[stream], held._held[event]
    buffer = np.zeros(8, np.uint8)
    del log[:]
    held.copy_to_device(address, buffer, stream)
    held.copy_on_device(0xA000, address, 8, stream)
    held.copy_to_host(buffer, address, stream)
    held.record(event, stream)
    held.wait(stream, event)
    held.until(event)
    held.synchronise(stream)
    held.synchronise()
    assert log == [
        ("memcpy_htod_async", address, buffer, queue),
        ("memcpy_dtod_async", 0xA000, address, 8, queue),
        ("memcpy_dtoh_async", buffer, address, queue),
        ("record", mark, queue),
        ("wait_for_event", queue, mark),
        ("Event.synchronize", mark),
        ("Stream.synchronize", queue),
        ("Context.synchronize",),
    ]


def test_two_timed_marks_tell_the_time_between_them(log):
    held = PyCuda()
    first, last = (held.create_event(timed=True) for _ in range(2))
    assert held.between_ms(first, last) == 2.5
    assert log[1:] == [("Event", 0), ("Event", 0), ("time_till", held._held[first], held._held[last])]


def test_memory_is_freed_when_it_is_told_to(log):
    held = PyCuda()
    held.free(held.allocate(8))
    held.free_pinned(held.allocate_pinned(8))
    assert [name for name, *_ in log] == ["retain", "free", "free pinned"]
    assert held.memory() == (5, 9)


def test_a_strangers_stream_is_waited_for_with_everything(log):
    held = PyCuda()
    held.wait_for(held.create_stream(), 1)
    assert log[-1] == ("Context.synchronize",)


def test_too_little_memory_is_the_same_sentence(log):
    with pytest.raises(EngineError, match=r"no memory left for 2048 MiB \(mem_alloc\): translate smaller batches"):
        PyCuda().allocate(2 << 30)


def test_cuda_graphs_are_for_the_other_package(log):
    assert not PyCuda.captures
    with pytest.raises(EngineError, match="pip install cuda-bindings"):
        PyCuda().record_graph(1, lambda: None)


def test_without_a_driver_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.delitem(sys.modules, "pycuda.driver", raising=False)
    with pytest.raises(EngineError, match="no NVIDIA driver is installed"):
        PyCuda.gpu()
