"""Arrays on the GPU: other libraries', and those that are given out."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from fake_cuda import LEGACY

from starcast.runtime.nvidia import dlpack
from starcast.runtime.nvidia.arrays import DeviceArray, View, borrow
from starcast.runtime.nvidia.placement import GPU, is_on_gpu

UINT8 = np.dtype(np.uint8)


class Interfaced:
    """As Numba's and PyCUDA's arrays are."""

    def __init__(self, **facts: object) -> None:
        self.__cuda_array_interface__ = {
            "version": 3, "shape": (2, 3), "typestr": "|u1", "data": (0x5000, False), **facts,
        }  # fmt: skip


class Packed:
    """As PyTorch's and CuPy's are: they wait, in the stream that they are told, for their own."""

    def __init__(self, device: int = GPU, number: int = 0) -> None:
        self.device, self.number = device, number
        self.streams: list[int] = []

    def __dlpack_device__(self):
        return self.device, self.number

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        return dlpack.give(self, 0x5000, (2, 3), UINT8, (self.device, self.number))


@pytest.mark.parametrize(
    ("array", "there"),
    [(Interfaced(), True), (Packed(), True), (Packed(dlpack.HOST), False), (np.zeros(3), False), ([1, 2], False)],
    ids=["interface", "dlpack", "dlpack of the host", "numpy", "list"],
)
def test_what_is_on_the_gpu_is_told_from_what_is_not(array, there):
    assert is_on_gpu(array) is there


def test_a_library_waits_for_itself_in_our_stream(driver):
    array = Packed()
    with borrow(array, 77, driver) as view:
        assert view == View(0x5000, (2, 3), UINT8)
    assert array.streams == [77]
    gc.collect()
    assert all(owner is not array for _, _, owner in dlpack._given.values())


def test_managed_memory_is_the_gpus_too(driver):
    array = Packed(dlpack.MANAGED)
    array.__cuda_array_interface__ = {}  # by which it is known to be on a GPU
    assert is_on_gpu(array)
    with borrow(array, 77, driver) as view:
        assert view.shape == (2, 3)


def test_an_array_on_another_gpu_is_refused_and_let_go(driver):
    array = Packed(number=1)
    sentence = "an array is on GPU 1: hand over a copy that is on the first"
    with pytest.raises(ValueError, match=sentence), borrow(array, 77, driver):
        pytest.fail("it is not here")
    gc.collect()
    assert all(owner is not array for _, _, owner in dlpack._given.values())


def test_what_a_library_does_not_hand_over_is_told_with_its_reason(driver):
    class Refusing(Packed):
        def __dlpack__(self, *, stream=None):
            raise BufferError("Can't export tensors that require gradient")

    sentence = r"\(Can't export tensors that require gradient\): hand over a plain copy"
    with pytest.raises(ValueError, match=sentence), borrow(Refusing(), 77, driver):
        pytest.fail("it was not handed over")


@pytest.mark.parametrize(
    ("facts", "waits"),
    [({"stream": LEGACY}, True), ({"stream": None}, False), ({}, False), ({"version": 2}, True)],
    ids=["its stream", "no stream", "none named", "an old version, which names none"],
)
def test_our_stream_waits_for_the_one_that_an_array_names(driver, card, facts, waits):
    stream = driver.create_stream()
    done = []
    card.enqueue(LEGACY, lambda: done.append("theirs"))
    with borrow(Interfaced(**facts), stream, driver):
        card.enqueue(stream, lambda: done.append("ours"))
        driver.synchronise(stream)
    assert done == (["theirs", "ours"] if waits else ["ours"])
    driver.destroy_stream(stream)


@pytest.mark.parametrize("strides", [(1, 2), (6, 2)], ids=["columns first", "gaps"])
def test_an_array_in_another_order_is_refused(driver, strides):
    with pytest.raises(ValueError, match="contiguous copy"), borrow(Interfaced(strides=strides), 1, driver):
        pass


@pytest.mark.parametrize("strides", [None, (3, 1)])
def test_c_order_may_be_spelt_out(driver, strides):
    with borrow(Interfaced(strides=strides), 1, driver) as view:
        assert view.nbytes == 6


def test_an_axis_of_one_may_have_any_stride(driver):
    with borrow(Interfaced(shape=(1, 3), strides=(99, 1)), 1, driver) as view:
        assert view.shape == (1, 3)


def test_rows_are_a_part_of_the_memory():
    view = View(0x1000, (5, 4), np.dtype(np.float32))
    assert view.rows(2, 9) == View(0x1000 + 2 * 16, (3, 4), view.dtype)


def test_what_is_given_out_can_be_taken_both_ways(driver):
    given = DeviceArray(View(0x7000, (2, 3), UINT8), lambda: None)
    assert is_on_gpu(given)
    assert len(given) == 2
    with borrow(given, 1, driver) as view:
        assert view == View(0x7000, (2, 3), UINT8)
    assert given.__cuda_array_interface__ == {
        "version": 3, "shape": (2, 3), "typestr": "|u1", "data": (0x7000, False), "strides": None, "stream": None,
    }  # fmt: skip


def test_memory_goes_back_once_when_its_last_reader_lets_go():
    returned = []
    given = DeviceArray(View(0x7000, (2, 3), UINT8), lambda: returned.append(1))
    taken = dlpack.take(given.__dlpack__(stream=5, max_version=(1, 0)))
    del given
    gc.collect()
    assert returned == []
    taken.release()
    gc.collect()
    assert returned == [1]
