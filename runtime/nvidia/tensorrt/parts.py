"""Split a batch into parts that an engine takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.nvidia.arrays import View
from starcast.runtime.nvidia.tensorrt.execution import Binding, Shapes

Part = Mapping[str, "NDArray[Any] | View"]


def cut(arrays: Part, inputs: tuple[Binding, ...]) -> list[Part]:
    """The parts, each as large as the engine's largest batch, the last one smaller.

    A host input with one row for all of the others' rows is repeated if the engine takes it so: then the engine sees
    fewer combinations of shapes.
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


def _piece(value: NDArray[Any] | View, rows: int, start: int, stop: int, one: Binding) -> NDArray[Any] | View:
    if value.shape[0] == rows:
        return value.rows(start, stop) if isinstance(value, View) else value[start:stop]
    if isinstance(value, View) or value.shape[0] != 1 or one.largest[0] < stop - start:
        return value
    return np.broadcast_to(value, (stop - start, *value.shape[1:]))
