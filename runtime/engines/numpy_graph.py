"""Run small ONNX graphs in NumPy: the matrix products that make styles, and scales and shifts of them.

They run once per style, and take milliseconds. A second engine for them would need 32 MB, and its import would take as
long as ncnn takes for an image.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.runtime.engines.base import Arrays, Session, closed_error, one_line
from starcast.runtime.engines.onnx_file import Node, OnnxFile, UnreadOnnxError, read_onnx
from starcast.runtime.manifest_bounds import Shape

_OPSET = range(13, 27)  # versions in which the operators below, on so many inputs, mean the same
_MOST_INPUTS = 2**10  # of a node that joins arrays

Array = NDArray[Any]


def open_in_numpy(path: Path) -> NumpySession | None:
    """A session of a graph that NumPy can run; None if an engine must."""
    try:
        graph = read_onnx(path)
    except (UnreadOnnxError, OSError):
        return None
    return NumpySession(path, graph) if _can_run(graph) else None


def _can_run(graph: OnnxFile) -> bool:
    values = {*graph.inputs, *graph.weights}
    for node in graph.nodes:
        kind = _OPERATORS.get(node.kind)
        if kind is None or len(node.reads) not in kind.counts or not node.attributes.keys() <= kind.attributes:
            return False
        if not values.issuperset(node.reads):
            return False
        values.add(node.writes)
    return graph.opset in _OPSET and graph.output in values


class NumpySession(Session):
    """One graph, with its weights."""

    def __init__(self, path: Path, graph: OnnxFile) -> None:
        self._path = path
        self._graph: OnnxFile | None = graph

    def run(self, feeds: Arrays) -> Array:
        if self._graph is None:
            raise closed_error(self._path)
        values: dict[str, Array] = {**self._graph.weights, **feeds}
        try:
            # NaN and infinity are results like others, as in any engine
            with np.errstate(all="ignore"):
                for node in self._graph.nodes:
                    values[node.writes] = _OPERATORS[node.kind].run(node, *(values[name] for name in node.reads))
            return values[self._graph.output]
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise EngineError(f"NumPy failed in {self._path} ({one_line(error)}): export the bundle again") from error

    def inputs(self) -> Mapping[str, Shape]:
        if self._graph is None:
            raise closed_error(self._path)
        return self._graph.inputs

    def close(self) -> None:
        self._graph = None


def _gemm(node: Node, left: Array, right: Array, added: Array | None = None) -> Array:
    left = left.T if node.attributes.get("transA") else left
    right = right.T if node.attributes.get("transB") else right
    product: Array = _scaled(left @ right, node.attributes.get("alpha", 1.0))
    return product if added is None else product + _scaled(added, node.attributes.get("beta", 1.0))


def _scaled(values: Array, factor: float) -> Array:
    return values if factor == 1 else values * np.float32(factor)


def _concat(node: Node, *parts: Array) -> Array:
    return np.concatenate(parts, axis=int(node.attributes["axis"]))


def _gather(node: Node, values: Array, places: Array) -> Array:
    return np.take(values, places, axis=int(node.attributes.get("axis", 0)))


def _leaky_relu(node: Node, values: Array) -> Array:
    return np.where(values < 0, values * np.float32(node.attributes.get("alpha", 0.01)), values)


def _mean(node: Node, values: Array, axes: Array) -> Array:
    mean: Array = values.mean(axis=_whole(axes), keepdims=bool(node.attributes.get("keepdims", 1)))
    return mean


def _reshape(node: Node, values: Array, shape: Array) -> Array:
    lengths = _whole(shape)
    if not node.attributes.get("allowzero"):
        lengths = tuple(length or values.shape[place] for place, length in enumerate(lengths))
    return values.reshape(lengths)


def _whole(array: Array) -> tuple[int, ...]:
    return tuple(int(number) for number in np.atleast_1d(array))


class _Kind(msgspec.Struct, frozen=True):
    """An operator: what it computes, how many inputs it may have, and the attributes that it may have."""

    run: Callable[..., Array]
    counts: Container[int]
    attributes: frozenset[str] = frozenset()


_OPERATORS: Mapping[str, _Kind] = {
    "Add": _Kind(lambda node, left, right: left + right, (2,)),
    "Concat": _Kind(_concat, range(1, _MOST_INPUTS), frozenset({"axis"})),
    "Gather": _Kind(_gather, (2,), frozenset({"axis"})),
    "Gemm": _Kind(_gemm, (2, 3), frozenset({"alpha", "beta", "transA", "transB"})),
    "LeakyRelu": _Kind(_leaky_relu, (1,), frozenset({"alpha"})),
    "MatMul": _Kind(lambda node, left, right: left @ right, (2,)),
    "Mul": _Kind(lambda node, left, right: left * right, (2,)),
    "Pow": _Kind(lambda node, base, exponent: base**exponent, (2,)),
    "Reciprocal": _Kind(lambda node, values: np.float32(1) / values, (1,)),
    "ReduceMean": _Kind(_mean, (2,), frozenset({"keepdims", "noop_with_empty_axes"})),
    "Relu": _Kind(lambda node, values: np.maximum(values, np.float32(0)), (1,)),
    "Reshape": _Kind(_reshape, (2,), frozenset({"allowzero"})),
    "Sqrt": _Kind(lambda node, values: np.sqrt(values), (1,)),
    "Squeeze": _Kind(lambda node, values, axes: values.squeeze(_whole(axes)), (2,)),
    "Unsqueeze": _Kind(lambda node, values, axes: np.expand_dims(values, _whole(axes)), (2,)),
}
