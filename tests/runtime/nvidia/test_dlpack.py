"""Our half of DLPack against numpy's and PyTorch's, on host memory: the structures are the same on the GPU."""

from __future__ import annotations

import gc

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from starcast.runtime.nvidia import dlpack


class OnHost:
    """numpy's memory, given by our capsule."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack_device__(self):
        return dlpack.HOST, 0

    def __dlpack__(self, **_):
        return dlpack.give(self, self.array.ctypes.data, self.array.shape, self.array.dtype, (dlpack.HOST, 0))


KINDS = st.sampled_from([np.dtype(name) for name in ("uint8", "int64", "float16", "float32", "float64")])


@given(KINDS.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=1, max_dims=4))))
def test_numpy_reads_what_we_give(array):
    read = np.from_dlpack(OnHost(array))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@given(KINDS.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=1, max_dims=4))))
def test_we_read_what_numpy_gives(array):
    taken = dlpack.take(array.__dlpack__())
    assert (taken.address, taken.shape, taken.dtype) == (array.ctypes.data, array.shape, array.dtype)
    assert taken.device == (dlpack.HOST, 0)
    taken.release()


def test_pytorch_reads_what_we_give_and_we_what_it_gives():
    torch = pytest.importorskip("torch")
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensor = torch.from_dlpack(OnHost(array))
    assert tensor.tolist() == array.tolist()
    taken = dlpack.take(tensor.transpose(1, 2).__dlpack__())
    assert (taken.address, taken.shape, taken.strides) == (array.ctypes.data, (2, 4, 3), (12, 1, 4))
    taken.release()


def test_the_owner_lives_as_long_as_the_memory_is_read():
    owner = OnHost(np.arange(5))
    before = len(dlpack._given)
    read = np.from_dlpack(owner)
    assert len(dlpack._given) == before + 1
    del read
    gc.collect()
    assert len(dlpack._given) == before


def test_a_capsule_that_nobody_takes_lets_go():
    before = len(dlpack._given)
    capsule = OnHost(np.arange(5)).__dlpack__()
    assert len(dlpack._given) == before + 1
    del capsule
    assert len(dlpack._given) == before


def test_what_is_taken_is_let_go_once():
    owner = OnHost(np.arange(5))
    before = len(dlpack._given)
    capsule = owner.__dlpack__()
    taken = dlpack.take(capsule)
    del capsule  # renamed: its end does nothing
    assert len(dlpack._given) == before + 1
    taken.release()
    assert len(dlpack._given) == before


def test_a_capsule_cannot_be_taken_twice():
    capsule = np.arange(3).__dlpack__()
    dlpack.take(capsule).release()
    with pytest.raises(ValueError, match="incorrect name"):
        dlpack.take(capsule)


def test_numbers_that_numpy_does_not_know_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="kind 4 with 16 bits"):
        dlpack.take(torch.zeros(2, dtype=torch.bfloat16).__dlpack__())
