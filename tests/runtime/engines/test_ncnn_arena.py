"""The block of memory that ncnn's blobs come from: its parts, and what runs in it."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.runtime.engines import ncnn, ncnn_arena
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.ncnn_arena import LARGE, Arena, block_size
from starcast.runtime.engines.registry import ENGINES

needs_ncnn = pytest.mark.skipif(ENGINES["ncnn"].absent() is not None, reason="needs ncnn")
GRAPH = """7767517
4 4
Input image 0 1 image
Input gamma_beta 0 1 gamma_beta 0=3
Convolution three 1 1 image three 0=3 1=3 11=3 4=1 5=1 6=81
Convolution translation 1 1 three translation 0=3 1=3 11=3 4=1 5=1 6=81
"""
FEEDS = {
    "image": np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8), "gamma_beta": np.ones((1, 3), "f4"),
}  # fmt: skip


@pytest.fixture
def graph(tmp_path) -> Graph:
    path = tmp_path / "graph.param"
    path.write_text(GRAPH)
    layer = np.concatenate([[0], np.random.default_rng(1).normal(size=84)])
    path.with_suffix(".bin").write_bytes(np.tile(layer, 2).astype(np.float32).tobytes())
    return Graph(path, weights=(path.with_suffix(".bin"),))


@pytest.fixture
def every_image_is_large(monkeypatch):
    monkeypatch.setattr(ncnn_arena, "LARGE", 1)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 8)), max_size=60))
def test_parts_never_overlap_are_aligned_and_join_when_they_are_free(steps):
    arena, size, taken = Arena(2**16), 2**16, {}
    for wanted, which in steps:
        if which and taken:
            assert arena.give_back(list(taken)[which % len(taken)])
            del taken[list(taken)[which % len(taken)]]
        elif (address := arena.take(wanted)) is not None:
            taken[address] = wanted + 64
        ends = sorted((address, address + length) for address, length in taken.items())
        assert all(end <= start for (_, end), (start, _) in pairwise(ends))
        assert all(address % 64 == 0 for address in taken)
    for address in taken:
        assert arena.give_back(address)
    whole = arena.take(size - 64)
    assert whole is not None
    assert arena.take(0) is None
    assert not arena.give_back(whole + 64)


def test_only_large_images_have_an_arena():
    assert block_size(LARGE - 1) is None
    assert block_size(LARGE) >= 4 * LARGE


@needs_ncnn
def test_the_arena_and_the_pool_give_the_same_numbers(graph, monkeypatch):
    pool = ENGINES["ncnn"].open(graph, EngineOptions(threads=2))
    expected = pool.unrounded(FEEDS)
    assert pool._arena is None
    monkeypatch.setattr(ncnn_arena, "LARGE", 1)
    session = ENGINES["ncnn"].open(graph, EngineOptions(threads=2))
    np.testing.assert_array_equal(session.unrounded(FEEDS), expected)
    small = {**FEEDS, "image": FEEDS["image"][:, :32, :32]}
    assert session.run(small).shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(session.unrounded(FEEDS), expected)
    assert session._arena._taken == {}
    assert len(session._arena._free) == 1


@needs_ncnn
@pytest.mark.usefixtures("every_image_is_large")
def test_what_does_not_fit_into_the_arena_comes_from_a_pool(graph, monkeypatch):
    monkeypatch.setattr(ncnn_arena, "_BLOCK", 1)
    monkeypatch.setattr(Arena, "take", lambda self, size: None)
    made = ENGINES["ncnn"].open(graph, EngineOptions(threads=2)).run(FEEDS)
    monkeypatch.undo()
    np.testing.assert_array_equal(made, ENGINES["ncnn"].open(graph, EngineOptions(threads=2)).run(FEEDS))


@needs_ncnn
@pytest.mark.usefixtures("every_image_is_large")
def test_where_the_system_grants_no_block_the_pool_is_used(graph, monkeypatch):
    def refuse(size):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(ncnn, "Arena", refuse)
    assert ENGINES["ncnn"].open(graph, EngineOptions(threads=1)).run(FEEDS).shape == (2, 64, 64, 3)


@needs_ncnn
@pytest.mark.usefixtures("every_image_is_large")
def test_where_addresses_come_in_another_form_the_pool_is_used(graph, monkeypatch):
    def refuse(capsule, name):
        raise ValueError("PyCapsule_GetPointer called with incorrect name")

    monkeypatch.setattr(ncnn_arena, "_pointer_of", refuse)
    assert ENGINES["ncnn"].open(graph, EngineOptions(threads=1)).run(FEEDS).shape == (2, 64, 64, 3)


PROGRAM = """
import signal, sys
import numpy as np
from pathlib import Path
from starcast.runtime.engines import ncnn_arena
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.registry import ENGINES

class Interrupted(Exception):
    pass

def interrupt(*_):
    raise Interrupted

ncnn_arena.LARGE = 1
path = Path(sys.argv[1])
session = ENGINES["ncnn"].open(Graph(path, weights=(path.with_suffix(".bin"),)), EngineOptions(threads=1))
feeds = {"image": np.zeros((20, 64, 64, 3), np.uint8), "gamma_beta": np.ones((1, 3), np.float32)}
session.run(feeds)
signal.signal(signal.SIGALRM, interrupt)
count = 0
while count < 40:
    signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0001 * count)
    try:
        session.run(feeds)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        pass
    count += 1
print(session.run(feeds).shape, len(session._arena._free))
session.close()
"""


@needs_ncnn
@pytest.mark.skipif(sys.platform == "win32", reason="needs interval timers")
def test_a_signal_whose_handler_raises_does_not_end_the_process(graph):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(graph.path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(20, 64, 64, 3) 1\n"), done.stderr
