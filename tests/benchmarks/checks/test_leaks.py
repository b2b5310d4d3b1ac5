"""The leak check finds what calls keep, and nothing else, on a GPU made of NumPy."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict

import numpy as np
import pytest

from starcast.benchmarks.checks import leaks as module
from starcast.benchmarks.checks import probe
from starcast.benchmarks.checks.check import WrongError
from starcast.benchmarks.checks.leaks import leaks
from starcast.runtime.nvidia.tensorrt.execution import MOST_SHAPES
from starcast.runtime.nvidia.tensorrt.flavours import Flavour
from starcast.runtime.nvidia.tensorrt.session import TensorRTSession


def of_the_leak_check(monkeypatch, *, calls: int, shapes: int) -> None:
    monkeypatch.setattr(module, "CALLS", calls)
    monkeypatch.setattr(module, "SHAPES", shapes)


def test_calls_and_shapes_that_keep_nothing_pass_the_leak_check(fake_gpu, tmp_path, monkeypatch):
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    figures = leaks("tensorrt-rtx", tmp_path)
    assert (figures["calls"], figures["shapes"], figures["gpu"]) == (300, 12, 0)
    assert Counter(run[2] for run in fake_gpu.trt.runs) == dict.fromkeys(range(1, 13), 2 * 3 + 25)
    assert fake_gpu.leaks() == []


def test_both_marks_of_the_leak_check_see_all_the_cuda_graphs_that_are_kept(fake_gpu, tmp_path, monkeypatch):
    from fake_tensorrt import FakeTensorRT

    from starcast.runtime.nvidia.cuda_python import CudaPython

    of_the_leak_check(monkeypatch, calls=80, shapes=MOST_SHAPES + 4)
    monkeypatch.setattr(Flavour, "load", lambda self: FakeTensorRT(fake_gpu, rtx=False))
    graphs, memory = [], CudaPython.memory

    def marked(driver):
        graphs.append(sum(kind == "executable" for kind, _ in fake_gpu.held.values()))
        return memory(driver)

    monkeypatch.setattr(CudaPython, "memory", marked)
    leaks("tensorrt", tmp_path)
    assert graphs == [MOST_SHAPES, MOST_SHAPES]


def test_memory_that_each_call_keeps_is_found(fake_gpu, tmp_path, monkeypatch):
    of_the_leak_check(monkeypatch, calls=300, shapes=4)
    module.open_driver()  # somebody else's: what leaks stays, as their context does
    run = TensorRTSession.run

    def leaking(session, feeds):
        with session._driver.active():
            session._driver.allocate(100_000)
        return run(session, feeds)

    monkeypatch.setattr(TensorRTSession, "run", leaking)
    with pytest.raises(WrongError, match=r"the GPU's memory grew by 28 MiB, and the process's by \d+ MiB"):
        leaks("tensorrt-rtx", tmp_path)


def test_the_torch_engine_keeps_nothing_of_calls_and_shapes(fake_gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "require_torch_gpu", lambda: None)  # the CPU stands in for the GPU
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    figures = leaks("torch", tmp_path)
    assert (figures["calls"], figures["shapes"], figures["gpu"]) == (300, 12, 0)


class Engine:
    """An engine of its own, whose memory is the fake GPU's."""

    def __init__(self):
        self.driver = module.open_driver()

    def open(self, graph, options):
        return self

    def allocate(self, size):
        with self.driver.active():
            return self.driver.allocate(size)

    def free(self, address):
        with self.driver.active():
            self.driver.free(address)

    def close(self):
        pass


@pytest.fixture
def engine_in_place(fake_gpu, monkeypatch):
    def put(engine: Engine) -> None:
        monkeypatch.setattr(probe, "require_engine", lambda name: None)
        monkeypatch.setattr(probe, "require_torch_gpu", lambda: None)
        monkeypatch.setattr(probe, "find_engine", lambda name: engine)
        monkeypatch.setattr(module, "rss", lambda: 0)  # the fake GPU's memory is this process's

    return put


def test_what_another_engines_calls_keep_is_found(engine_in_place, tmp_path, monkeypatch):
    class Leaking(Engine):
        def run(self, feeds):
            assert feeds["x"].dtype == np.float32
            self.allocate(100_000)

    engine_in_place(Leaking())
    of_the_leak_check(monkeypatch, calls=300, shapes=4)
    with pytest.raises(WrongError, match=r"the GPU's memory grew by 28 MiB"):
        leaks("cuda", tmp_path)


def test_the_records_of_the_last_shapes_are_no_leak(engine_in_place, tmp_path, monkeypatch):
    class Recording(Engine):
        """Like the torch engine: the second run of a shape is recorded, and eight are kept."""

        def __init__(self):
            super().__init__()
            self.shapes = OrderedDict()  # None: it ran once, else where its record is

        def run(self, feeds):
            shape = feeds["x"].shape
            if shape in self.shapes:
                self.shapes[shape] = self.shapes[shape] or self.allocate(4 << 20)
                return
            self.shapes[shape] = None
            if len(self.shapes) > 8:
                _, record = self.shapes.popitem(last=False)
                if record is not None:
                    self.free(record)

    engine_in_place(Recording())
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    assert leaks("torch", tmp_path)["gpu"] == 0


def test_what_torch_has_only_set_aside_is_no_leak(engine_in_place, tmp_path, monkeypatch):
    class Caching(Engine):
        def __init__(self):
            super().__init__()
            self.aside = []

        def run(self, feeds):
            self.aside.append(self.allocate(1 << 18))

        def give_back(self):
            while self.aside:
                self.free(self.aside.pop())

    engine = Caching()
    engine_in_place(engine)
    monkeypatch.setattr("torch.cuda.empty_cache", engine.give_back)
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    assert leaks("torch", tmp_path)["gpu"] == 0


def test_what_is_compiled_beside_the_first_calls_is_no_leak(engine_in_place, tmp_path, monkeypatch):
    class Compiling(Engine):
        calls, kernels = 0, None

        def run(self, feeds):
            self.calls += 1
            if self.calls == 100:
                self.finish()

        def finish(self):
            self.kernels = self.kernels or self.allocate(32 << 20)

    engine = Compiling()
    engine_in_place(engine)
    monkeypatch.setattr(module, "_wait_for_rest", engine.finish)
    of_the_leak_check(monkeypatch, calls=300, shapes=12)
    assert leaks("cuda", tmp_path)["gpu"] == 0


def test_what_is_compiled_beside_the_calls_is_waited_for():
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    compiles = threading.Thread(target=lambda: all(iter(lambda: not stop.is_set(), False)))
    compiles.start()
    module._wait_for_rest()
    assert stop.is_set()
    compiles.join()


def test_a_process_that_never_rests_is_waited_for_no_longer_than_allowed():
    stop = threading.Event()
    works = threading.Thread(target=lambda: all(iter(lambda: not stop.is_set(), False)))
    works.start()
    try:
        module._wait_for_rest(0.3)
    finally:
        stop.set()
        works.join()
