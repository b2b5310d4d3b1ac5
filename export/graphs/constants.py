"""Constants that rewrites add to a graph, as initializers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def neutral_weights(graph: ir.Graph, channels: int) -> tuple[ir.Value, ir.Value]:
    """Scale and shift [C] of a norm that has none of its own: 1 and 0."""
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return add_constant(graph, f"one.{channels}", ones), add_constant(graph, f"zero.{channels}", zeros)


def add_constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """The initializer of that name if it is equal; else a new one, numbered if the name is taken."""
    for candidate in itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2))):
        known = graph.initializers.get(candidate)
        if known is None:
            break
        held = known.const_value.numpy() if known.const_value is not None else None
        if held is not None and held.dtype == array.dtype and np.array_equal(held, array):
            return known
    tensor = ir.tensor(array, name=candidate)
    kind = ir.TensorType(tensor.dtype)
    value = ir.Value(name=candidate, const_value=tensor, shape=ir.Shape(array.shape), type=kind)
    graph.initializers[candidate] = value
    return value
