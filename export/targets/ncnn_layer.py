"""One of ncnn's layers, and the facts of a node that go into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.export.graphs.facts import numbers

Parameter = int | float | Sequence[int]


class NoCounterpartError(EngineError):
    """A node that ncnn has no layer for."""

    def __init__(self, clause: str) -> None:
        super().__init__(f"{clause}: leave ncnn out of --for")
        self.clause = clause


@dataclass(frozen=True)
class Layer:
    """One of ncnn's layers for one node: its inputs, its numbered parameters, its part of the weights."""

    kind: str
    reads: tuple[ir.Value, ...]
    parameters: Mapping[int, Parameter] = field(default_factory=dict)
    weights: bytes = b""


def no_counterpart(node: ir.Node, reason: str) -> NoCounterpartError:
    """The error for a node, with the reason in brackets."""
    return NoCounterpartError(f"the node {node.name} ({node.op_type}) cannot be written for ncnn ({reason})")


def reads(node: ir.Node, count: int) -> tuple[ir.Value, ...]:
    """The node's first `count` inputs, which are computed; the others are constant."""
    inputs = tuple(value for value in node.inputs[:count] if value is not None)
    assert len(inputs) == count
    return inputs


def constant(node: ir.Node, index: int) -> NDArray[Any]:
    """A constant input's array. Raises NoCounterpartError if it is computed."""
    array = numbers(node.inputs[index])
    if array is None:
        raise no_counterpart(node, f"its input {index} is not constant")
    return array


def raw(array: NDArray[Any]) -> bytes:
    """Numbers as the file of weights holds them."""
    return array.astype("<f4").tobytes()


def ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    """An attribute that is a list of whole numbers."""
    return list(node.attributes.get_ints(name, default))
