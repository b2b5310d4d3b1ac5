"""cuda-python's implementation: against the fake GPU, and the fake GPU against the real package's signatures."""

from __future__ import annotations

import inspect
import re
from threading import Thread

import numpy as np
import pytest
from fake_cuda import LEGACY, FakeCuda

from starcast.errors import EngineError
from starcast.runtime.nvidia.cuda_python import CudaPython

CALLS = sorted(name for name in vars(FakeCuda) if name.startswith("cu"))


@pytest.mark.parametrize("name", CALLS)
def test_the_real_function_takes_the_same_arguments(name):
    from cuda.bindings import driver as real

    line = getattr(real, name).__doc__.splitlines()[0]
    written = re.fullmatch(r"(\w+)\((.*)\)", line)
    assert written[1] == name
    arguments = [one.partition(":")[0].split()[-1] for one in written[2].split(", ") if one]
    fake = list(inspect.signature(getattr(FakeCuda(), name)).parameters)
    assert fake == arguments


def test_every_function_that_is_called_is_in_the_fake():
    source = inspect.getsource(inspect.getmodule(CudaPython))
    assert set(re.findall(r"\bcu[A-Z]\w+", source)) <= set(CALLS)


def test_bytes_go_to_the_gpu_and_back(driver):
    stream, address, out, back = (
        driver.create_stream(),
        driver.allocate(6),
        driver.allocate_pinned(6),
        driver.allocate_pinned(6),
    )
    out[:] = range(6)
    driver.copy_to_device(address, out, stream)
    driver.copy_to_host(back, address, stream)
    driver.synchronise(stream)
    assert back.tolist() == list(range(6))
    driver.free(address)
    driver.free_pinned(out)
    driver.free_pinned(back)
    driver.destroy_stream(stream)


def test_a_stream_waits_for_another_ones_mark(driver, card):
    first, second = driver.create_stream(), driver.create_stream()
    done = []
    card.enqueue(first, lambda: done.append("first"))
    mark = driver.create_event()
    driver.record(mark, first)
    driver.wait(second, mark)
    card.enqueue(second, lambda: done.append("second"))
    assert done == []
    driver.synchronise(second)
    assert done == ["first", "second"]
    for stream in (first, second):
        driver.destroy_stream(stream)
    driver.destroy_event(mark)


def test_two_timed_marks_tell_what_the_gpu_took_between_them(driver, card):
    stream = driver.create_stream()
    first, last = (driver.create_event(timed=True) for _ in range(2))
    card.enqueue(stream, lambda: None)
    driver.record(first, stream)
    for _ in range(3):
        card.enqueue(stream, lambda: None)
    driver.record(last, stream)
    driver.synchronise(stream)
    assert driver.between_ms(first, last) == 3.0
    for mark in (first, last):
        driver.destroy_event(mark)
    driver.destroy_stream(stream)


def test_a_stream_waits_for_a_strangers_stream(driver, card):
    stream = driver.create_stream()
    done = []
    card.enqueue(LEGACY, lambda: done.append("theirs"))
    driver.wait_for(stream, LEGACY)
    card.enqueue(stream, lambda: done.append("ours"))
    driver.synchronise(stream)
    assert done == ["theirs", "ours"]
    driver.destroy_stream(stream)


def test_what_is_recorded_is_not_done_before_it_is_launched_and_then_each_time(driver, card):
    stream = driver.create_stream()
    done = []
    graph = driver.record_graph(stream, lambda: card.enqueue(stream, lambda: done.append("run")))
    driver.synchronise()
    assert done == []
    driver.launch_graph(graph, stream)
    driver.launch_graph(graph, stream)
    driver.synchronise(stream)
    assert done == ["run", "run"]
    driver.destroy_graph(graph)
    driver.destroy_stream(stream)


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError("refused")])
def test_a_recording_ends_whatever_ends_the_call(driver, card, error):
    def broken_off():
        raise error

    stream = driver.create_stream()
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        driver.record_graph(stream, broken_off)
    driver.synchronise()
    driver.destroy_stream(stream)
    assert card.leaks() == ["context"]


def test_nobody_waits_for_the_whole_context_while_a_thread_records(driver, card):
    stream, done = driver.create_stream(), []

    def wait():
        with driver.active():
            driver.synchronise()
        done.append("waited")

    thread = Thread(target=wait)

    def call():
        thread.start()
        thread.join(0.1)
        done.append("recorded")

    graph = driver.record_graph(stream, call)
    thread.join()
    assert done == ["recorded", "waited"]
    driver.destroy_graph(graph)
    driver.destroy_stream(stream)


def test_an_error_is_not_hidden_by_what_follows_from_it(driver, card):
    held = CudaPython()
    card.fails |= dict.fromkeys(("cuCtxSynchronize", "cuCtxPopCurrent"), "ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(EngineError, match="cuCtxSynchronize"), held.active():
        held.synchronise()
    held.close()


def test_the_context_before_comes_back_also_after_an_error(card):
    held = CudaPython()
    with pytest.raises(EngineError), held.active():
        held.allocate(2 << 30)
    assert card.contexts == []
    held.close()


def test_too_little_memory_is_one_sentence_that_says_what_to_do(driver, card):
    sentence = r"the GPU has no memory left for 2048 MiB \(cuMemAlloc\): translate smaller batches or images"
    with pytest.raises(EngineError, match=sentence):
        driver.allocate(2 << 30)


def test_another_refusal_names_the_call_and_its_code(driver, card):
    card.fails["cuCtxSynchronize"] = "ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(EngineError, match=r"failed in cuCtxSynchronize \(CUDA_ERROR_ILLEGAL_ADDRESS\): start again"):
        driver.synchronise()


def test_memory_is_counted(driver):
    free, total = driver.memory()
    address = driver.allocate(1000)
    assert driver.memory() == (free - 1000, total)
    driver.free(address)


def test_an_array_of_page_locked_memory_is_that_memory(driver, card):
    buffer = driver.allocate_pinned(4)
    buffer[:] = np.arange(4)
    assert card.held[buffer.ctypes.data][1].tolist() == [0, 1, 2, 3]
    driver.free_pinned(buffer)
