"""The driver layer on a real GPU: what the GPU of numpy stands for. No GPU has run these yet."""

from __future__ import annotations

import numpy as np
import pytest

from starcast.errors import EngineError
from starcast.runtime.nvidia.arrays import DeviceArray, View, borrow
from starcast.runtime.nvidia.first_gpu import current_gpu, open_driver, why_no_gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(current_gpu() is None, reason=f"it needs an NVIDIA GPU ({why_no_gpu()})"),
]


@pytest.fixture
def real():
    held = open_driver()
    with held.active():
        yield held
    held.close()


def test_bytes_go_to_the_gpu_and_back_and_within_it(real):
    stream, first, second = real.create_stream(), real.allocate(1000), real.allocate(1000)
    out, back = real.allocate_pinned(1000), real.allocate_pinned(1000)
    out[:] = np.random.default_rng(0).integers(0, 256, 1000)
    real.copy_to_device(first, out, stream)
    real.copy_on_device(second, first, 1000, stream)
    real.copy_to_host(back, second, stream)
    real.synchronise(stream)
    np.testing.assert_array_equal(back, out)
    for free, held in ((real.free, first), (real.free, second), (real.free_pinned, out), (real.free_pinned, back)):
        free(held)
    real.destroy_stream(stream)


def test_two_timed_marks_are_as_far_apart_as_what_is_between_them(real):
    size = 1 << 26
    stream, first, second = real.create_stream(), real.allocate(size), real.allocate(size)
    begun, middle, ended = (real.create_event(timed=True) for _ in range(3))
    real.record(begun, stream)
    real.copy_on_device(second, first, size, stream)
    real.record(middle, stream)
    for _ in range(8):
        real.copy_on_device(second, first, size, stream)
    real.record(ended, stream)
    real.synchronise(stream)
    assert 0 < real.between_ms(begun, middle) < real.between_ms(middle, ended)
    for mark in (begun, middle, ended):
        real.destroy_event(mark)
    real.free(first)
    real.free(second)
    real.destroy_stream(stream)


def test_a_recorded_copy_is_done_at_each_launch(real):
    if not real.captures:
        pytest.skip(f"{real.name} records no CUDA graphs")
    stream, first, second, buffer = real.create_stream(), real.allocate(4), real.allocate(4), real.allocate_pinned(4)
    graph = real.record_graph(stream, lambda: real.copy_on_device(second, first, 4, stream))
    for value in (7, 9):
        buffer[:] = value
        real.copy_to_device(first, buffer, stream)
        real.launch_graph(graph, stream)
        real.copy_to_host(buffer, second, stream)
        real.synchronise(stream)
        assert buffer.tolist() == [value] * 4
    real.destroy_graph(graph)
    real.free(first)
    real.free(second)
    real.free_pinned(buffer)
    real.destroy_stream(stream)


def test_more_than_there_is_is_one_sentence(real):
    _, total = real.memory()
    with pytest.raises(EngineError, match="the GPU has no memory left for .* MiB"):
        real.allocate(2 * total)


def test_pytorchs_arrays_are_seen_where_they_are_and_it_sees_ours(real):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch was built without CUDA")
    theirs = torch.arange(6, dtype=torch.uint8, device="cuda").reshape(2, 3)
    stream = real.create_stream()
    with borrow(theirs, stream, real) as view:
        assert (view.address, view.shape) == (theirs.data_ptr(), (2, 3))
    ours = torch.from_dlpack(DeviceArray(View(theirs.data_ptr(), (2, 3), np.dtype(np.uint8)), lambda: None))
    assert ours.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert torch.as_tensor(ours).data_ptr() == theirs.data_ptr()
    real.destroy_stream(stream)
