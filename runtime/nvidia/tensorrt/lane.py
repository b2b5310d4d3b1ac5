"""Split a batch into parts that an engine accepts, and take each to the GPU, through the engine, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.nvidia.arrays import View
from starcast.runtime.nvidia.driver import Driver
from starcast.runtime.nvidia.tensorrt.execution import Binding, Shapes

Part = Mapping[str, "NDArray[Any] | View"]


def cut(arrays: Part, inputs: tuple[Binding, ...]) -> list[Part]:
    """Split the inputs into parts, each as large as the engine's largest batch; the last one may be smaller.

    A host input with a single row is repeated for all rows of a part if the engine accepts that: the engine then sees
    fewer combinations of shapes. An input that the engine was tuned for one row of, such as noise that all images
    share, stays as it is: its planes would be copied to the GPU for every image.
    """
    rows = max(value.shape[0] for value in arrays.values())
    most = min(one.largest[0] for one in inputs if arrays[one.name].shape[0] == rows)
    return [
        {one.name: _piece(arrays[one.name], rows, start, min(start + most, rows), one) for one in inputs}
        for start in range(0, rows, most)
    ]


def shapes_of(part: Part, inputs: tuple[Binding, ...]) -> Shapes:
    """The shapes of a part, in the order of the inputs."""
    return tuple(tuple(part[one.name].shape) for one in inputs)


def size_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes of an array."""
    return math.prod(shape) * dtype.itemsize


class Lane:
    """Memory for one part on the host and the GPU, the stream that copies it, and events that track it.

    The engine reads and writes at `bound`, in the stream `compute`. A lane that owns that memory and stream copies
    nothing on the GPU and waits for no event: parts then run one after another, with the least delay.
    """

    def __init__(
        self, driver: Driver, bindings: tuple[Binding, ...], bound: dict[str, int], compute: int,
        stream: int, device: dict[str, int], owned: ExitStack,
    ) -> None:  # fmt: skip
        self._driver = driver
        self._output = bindings[-1]
        self._bound = bound
        self._compute = compute
        self._stream = stream
        self._device = device
        self._host: dict[str, NDArray[np.uint8]] = {}
        for one in bindings:
            buffer = self._host[one.name] = driver.allocate_pinned(one.nbytes)
            owned.callback(driver.free_pinned, buffer)
        self._filled, self._done, self._emptied = (driver.create_event() for _ in range(3))
        for mark in (self._filled, self._done, self._emptied):
            owned.callback(driver.destroy_event, mark)
        self._busy = False  # a copy from this lane's page-locked memory may be under way
        # of the part in this lane: its rows in the result, and its shape
        self._place: tuple[slice, tuple[int, ...]] | None = None

    def load(self, part: Part) -> None:
        """Copy a part to where the engine reads it."""
        if self._busy:
            self._driver.until(self._filled)
        for name, value in part.items():
            if not isinstance(value, View):
                waiting = self._host[name][: size_of(value.shape, value.dtype)]
                np.copyto(waiting.view(value.dtype).reshape(value.shape), value)
                self._driver.copy_to_device(self._device[name], waiting, self._stream)
        self._driver.record(self._filled, self._stream)
        self._busy = True
        if self._stream != self._compute:
            self._driver.wait(self._compute, self._filled)
        for name, value in part.items():
            source = value.address if isinstance(value, View) else self._device[name]
            self._copy(self._bound[name], source, size_of(value.shape, value.dtype))

    def hand_on(self, place: slice, shape: tuple[int, ...]) -> None:
        """Take over the engine's output, of this shape, for the rows `place` of the result."""
        self._place = place, shape
        self._copy(self._device[self._output.name], self._bound[self._output.name], self._size(shape))
        if self._stream != self._compute:
            self._driver.record(self._done, self._compute)

    def unload(self) -> None:
        """Copy the output to the host. Call it after the next part's upload is queued: a stream works in order."""
        if self._place is None:
            return
        if self._stream != self._compute:
            self._driver.wait(self._stream, self._done)
        size = self._size(self._place[1])
        self._driver.copy_to_host(self._host[self._output.name][:size], self._device[self._output.name], self._stream)
        self._driver.record(self._emptied, self._stream)

    def collect(self, result: NDArray[Any]) -> None:
        """Wait until the output is on the host, and copy it into the result."""
        if self._place is None:
            return
        self._driver.until(self._emptied)
        place, shape = self._place
        np.copyto(result[place], self._host[self._output.name][: self._size(shape)].view(result.dtype).reshape(shape))
        self._place = None

    def forget(self) -> None:
        """Forget the part in this lane. Call it when nothing is under way any more."""
        self._busy, self._place = False, None

    def _copy(self, target: int, source: int, size: int) -> None:
        if target != source:
            self._driver.copy_on_device(target, source, size, self._compute)

    def _size(self, shape: tuple[int, ...]) -> int:
        return size_of(shape, self._output.dtype)


def _piece(value: NDArray[Any] | View, rows: int, start: int, stop: int, one: Binding) -> NDArray[Any] | View:
    if value.shape[0] == rows:
        return value.rows(start, stop) if isinstance(value, View) else value[start:stop]
    if isinstance(value, View) or value.shape[0] != 1 or one.usual[0] == 1 or one.largest[0] < stop - start:
        return value
    return np.broadcast_to(value, (stop - start, *value.shape[1:]))
