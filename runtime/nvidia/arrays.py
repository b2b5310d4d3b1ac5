"""Arrays on the GPU: other libraries', through DLPack or `__cuda_array_interface__`, and ours."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from starcast.runtime.nvidia import dlpack
from starcast.runtime.nvidia.driver import Driver
from starcast.runtime.nvidia.placement import GPU

LEGACY_STREAM = 1  # CU_STREAMLEGACY_STREAM, the default stream: used by libraries that name no stream


@dataclass(frozen=True)
class View:
    """An array's address on the GPU, its shape and its dtype. The array is in C order, without gaps."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, start: int, stop: int) -> View:
        """Some of its rows: from `start`, up to `stop` or the last."""
        row = self.nbytes // self.shape[0]
        return View(self.address + start * row, (min(stop, self.shape[0]) - start, *self.shape[1:]), self.dtype)


@contextmanager
def borrow(value: Any, stream: int, driver: Driver) -> Iterator[View]:
    """A view of a GPU array, for work queued in `stream` within the block. The stream waits until the array's library
    has written it. Raises ValueError for an array that is not in C order, or not on the first GPU."""
    # DLPack is preferred: it knows the stream that the library works in; the other protocol often does not
    if hasattr(value, "__dlpack__"):
        taken = dlpack.take(_capsule(value, stream))
        try:
            kind, number = taken.device
            if kind not in (GPU, dlpack.MANAGED) or number != 0:
                raise ValueError(f"an array is on GPU {number}: hand over a copy that is on the first, 0")
            _check_order(taken.shape, taken.strides)
            yield View(taken.address, taken.shape, taken.dtype)
        finally:
            taken.release()
        return
    facts = value.__cuda_array_interface__
    dtype, shape = np.dtype(facts["typestr"]), tuple(facts["shape"])
    strides = facts.get("strides")
    _check_order(shape, None if strides is None else tuple(step // dtype.itemsize for step in strides))
    theirs = facts.get("stream") if facts["version"] >= 3 else LEGACY_STREAM
    if theirs is not None:
        driver.wait_for(stream, theirs)
    yield View(facts["data"][0], shape, dtype)


class DeviceArray:
    """An array on the GPU, complete when it is returned. PyTorch, CuPy, Numba and others accept it directly:
    `torch.from_dlpack(array)`, `cupy.asarray(array)`. Its memory is released with its last reference."""

    def __init__(self, view: View, release: Callable[[], None]) -> None:
        self.shape = view.shape
        self.dtype = view.dtype
        self._view = view
        weakref.finalize(self, release).atexit = False  # at the end of the process the driver frees everything

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3, "shape": self.shape, "typestr": self.dtype.str, "data": (self._view.address, False),
            "strides": None, "stream": None,
        }  # fmt: skip

    def __dlpack_device__(self) -> tuple[int, int]:
        return GPU, 0

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        """A capsule for a consumer, which need not wait in any stream: the array was complete before it was
        returned."""
        return dlpack.give(self, self._view.address, self.shape, self.dtype)


def _capsule(value: Any, stream: int) -> Any:
    try:
        return value.__dlpack__(stream=stream)
    except BufferError as error:  # the array is on another GPU, or has a gradient
        raise ValueError(f"an array on the GPU cannot be taken as it is ({error}): hand over a plain copy") from error


def _check_order(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> None:
    """Raise ValueError unless strides, in elements, are those of C order; axes of length 1 may have any."""
    if strides is None:
        return
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            raise ValueError("an array on the GPU has gaps or another order of axes: hand over a contiguous copy")
        step *= size
