"""Memory that is given out on the GPU (memory.py)."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import FakeCuda, install

from starcast.errors import EngineError
from starcast.runtime.nvidia.cuda_python import CudaPython
from starcast.runtime.nvidia.memory import MOST_IDLE, MOST_SIZES, Outputs

FLOAT = np.dtype(np.float32)


@pytest.fixture
def outputs(card):
    driver = CudaPython()
    made = Outputs(driver)
    with driver.active():
        yield made
    card.finish()


def test_what_comes_back_is_used_again_after_its_readers_are_done(outputs, card):
    first = outputs.take((2, 3), FLOAT)
    done = []
    card.enqueue(1, lambda: done.append("read"))  # by someone, in a stream that is not ours
    first.release()
    second = outputs.take((2, 3), FLOAT)
    assert second.view.address == first.view.address
    assert done == ["read"]
    second.release()
    outputs.close()
    assert card.leaks() == []


def test_what_is_held_is_not_given_out_again(outputs, card):
    held = [outputs.take((8,), FLOAT) for _ in range(3)]
    assert len({one.view.address for one in held}) == 3
    for one in held:
        one.release()
    outputs.close()
    assert card.leaks() == []


def test_only_a_few_idle_ones_are_kept(outputs, card):
    held = [outputs.take((8,), FLOAT) for _ in range(MOST_IDLE + 3)]
    for one in held:
        one.release()
    assert card.leaks().count("memory") == MOST_IDLE
    outputs.close()


def test_images_of_many_sizes_do_not_fill_the_gpu(outputs, card):
    for size in range(1, 100):
        for one in [outputs.take((size,), FLOAT) for _ in range(MOST_IDLE)]:
            one.release()
    assert card.leaks().count("memory") <= MOST_IDLE * (MOST_SIZES + 1)
    outputs.close()
    assert card.leaks() == []


def test_sizes_that_come_by_turns_are_allocated_once(outputs, card):
    for _ in range(10):
        for size in range(1, MOST_SIZES + 1):
            outputs.take((size,), FLOAT).release()
    assert card.asked["cuMemAlloc"] == MOST_SIZES
    outputs.close()


def test_where_there_is_no_room_what_is_idle_makes_it(monkeypatch):
    card = install(monkeypatch, FakeCuda(memory=1000))
    driver = CudaPython()
    outputs = Outputs(driver)
    with driver.active():
        outputs.take((200,), FLOAT).release()
        outputs.take((201,), FLOAT).release()
        with pytest.raises(EngineError, match="no memory left"):
            outputs.take((251,), FLOAT)
    outputs.close()
    assert card.leaks() == []


def test_what_was_not_given_out_after_all_is_not_lost(outputs, card):
    outputs.take((8,), FLOAT).release()
    card.fails["cuCtxSynchronize"] = "ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(EngineError, match="cuCtxSynchronize"):
        outputs.take((8,), FLOAT)
    outputs.take((8,), FLOAT).release()
    outputs.close()
    assert card.leaks() == []


def test_the_context_stays_until_the_last_one_is_back(outputs, card):
    held = outputs.take((8,), FLOAT)
    outputs.close()
    assert card.leaks() == ["memory", "context"]
    held.release()
    assert card.leaks() == []


def test_an_array_that_found_no_room_is_not_waited_for(outputs, card):
    with pytest.raises(EngineError, match="no memory left"):
        outputs.take((1 << 30,), FLOAT)
    outputs.close()
    assert card.leaks() == []
