"""Read a small ONNX file without a library: its nodes, weights, inputs and output.

An ONNX file is a protocol buffer. For field numbers, see onnx.proto in github.com/onnx/onnx; for the encoding, see
protobuf.dev/programming-guides/encoding. Only what NumPy can compute is read (numpy_graph.py); anything else raises
UnreadOnnxError, and an engine runs the file instead.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.manifest_bounds import Shape

LARGEST_FILE = 2**26  # bytes; the AFHQ mapping network has 2**24
_DTYPES: Mapping[int, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}  # by TensorProto.DataType
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

Value = int | float | memoryview


class UnreadOnnxError(ValueError):
    """Why a file is left to an engine, as a clause."""


@dataclass(frozen=True)
class Node:
    """An operator of the default domain, with its attributes that are numbers."""

    kind: str
    reads: tuple[str, ...]
    writes: str
    attributes: Mapping[str, float]


@dataclass(frozen=True)
class OnnxFile:
    """A graph with one output. `opset`: the version of its operators."""

    opset: int
    nodes: tuple[Node, ...]
    weights: Mapping[str, NDArray[Any]]
    inputs: Mapping[str, Shape]
    output: str


def read_onnx(path: Path) -> OnnxFile:
    """The graph in a file. Raises UnreadOnnxError, OSError."""
    if path.stat().st_size > LARGEST_FILE:
        raise UnreadOnnxError("it is large")
    try:
        return _model(memoryview(path.read_bytes()))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise UnreadOnnxError("it is cut short or damaged") from error


def _model(data: memoryview) -> OnnxFile:
    graphs, opset = [], 0
    for number, value in _fields(data):
        if number == 7:
            graphs.append(_bytes(value))
        elif number == 8:
            imported = dict(_fields(_bytes(value)))
            if bytes(_bytes(imported.get(1, memoryview(b"")))) == b"":  # the default domain
                opset = _whole(imported.get(2, 0))
        elif number == 25:
            raise UnreadOnnxError("it has functions of its own")
    if len(graphs) != 1:
        raise UnreadOnnxError("it has no graph")
    return _graph(graphs[0], opset)


def _graph(data: memoryview, opset: int) -> OnnxFile:
    nodes, weights, inputs, outputs = [], {}, {}, []
    for number, value in _fields(data):
        if number == 1:
            nodes.append(_node(_bytes(value)))
        elif number == 5:
            name, array = _tensor(_bytes(value))
            weights[name] = array
        elif number == 11:
            name, shape = _input(_bytes(value))
            inputs[name] = shape
        elif number == 12:
            outputs.append(_text(dict(_fields(_bytes(value))).get(1)))
        elif number == 15:
            raise UnreadOnnxError("it has sparse weights")
    if len(outputs) != 1:
        raise UnreadOnnxError(f"it has {len(outputs)} outputs")
    given = {name: shape for name, shape in inputs.items() if name not in weights}
    return OnnxFile(opset, tuple(nodes), weights, given, outputs[0])


def _node(data: memoryview) -> Node:
    reads, writes, kind, attributes = [], [], "", {}
    for number, value in _fields(data):
        if number == 1:
            reads.append(_text(value))
        elif number == 2:
            writes.append(_text(value))
        elif number == 4:
            kind = _text(value)
        elif number == 5:
            name, setting = _attribute(_bytes(value))
            attributes[name] = setting
        elif number == 7 and _text(value):
            raise UnreadOnnxError(f"it has operators of {_text(value)}")
    if len(writes) != 1:
        raise UnreadOnnxError(f"{kind} has {len(writes)} outputs")
    return Node(kind, tuple(reads), writes[0], attributes)


def _attribute(data: memoryview) -> tuple[str, float]:
    """The name and value of an attribute that is a number."""
    has = dict(_fields(data))
    kind = has.get(20)
    if kind not in (1, 2):  # FLOAT, INT
        raise UnreadOnnxError(f"the attribute {_text(has.get(1))} is not a number")
    value = has.get(2, 0.0) if kind == 1 else has.get(3, 0)
    assert not isinstance(value, memoryview)
    return _text(has.get(1)), value


def _tensor(data: memoryview) -> tuple[str, NDArray[Any]]:
    """The name and value of a weight."""
    dims: list[int] = []
    kind, name, raw = 0, "", None
    for number, value in _fields(data):
        if number == 1 and isinstance(value, memoryview):
            dims += _packed(value)
        elif number == 1:
            dims.append(_whole(value))
        elif number == 2:
            kind = _whole(value)
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = _bytes(value)
        elif number != 12:  # a comment
            raise UnreadOnnxError("its weights are in another file, or not raw")
    dtype = _DTYPES.get(kind)
    if dtype is None or raw is None or min(dims, default=0) < 0 or math.prod(dims) * dtype.itemsize != len(raw):
        raise UnreadOnnxError(f"the weight {name} is not raw float32 or int64 of its shape")
    # copied: in the file it may lie at an odd address
    return name, np.frombuffer(raw, dtype).reshape(dims).copy()


def _input(data: memoryview) -> tuple[str, Shape]:
    """The name and shape of an input; None for a length that is not fixed."""
    has = dict(_fields(data))
    kind = dict(_fields(_bytes(has.get(2))))  # TypeProto
    tensor = dict(_fields(_bytes(kind.get(1))))
    lengths = []
    for number, value in _fields(_bytes(tensor.get(2))):  # TensorShapeProto
        if number == 1:
            length = dict(_fields(_bytes(value))).get(1)
            lengths.append(None if length is None else _whole(length))
    return _text(has.get(1)), tuple(lengths)


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Each field's number and value. Raises IndexError, struct.error where the message is cut short."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        wire = key & 7
        value: Value
        if wire == _VARINT:
            value, place = _varint(data, place)
            value -= (value >> 63) << 64  # two's complement
        elif wire == _BYTES:
            length, place = _varint(data, place)
            if place + length > len(data):
                raise IndexError(length)
            value, place = data[place : place + length], place + length
        elif wire == _FIXED32:
            [value] = struct.unpack_from("<f", data, place)
            place += 4
        elif wire == _FIXED64:
            [value] = struct.unpack_from("<d", data, place)
            place += 8
        else:
            raise UnreadOnnxError("it is no ONNX file")
        yield key >> 3, value


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of up to 64 bits, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), place
    raise UnreadOnnxError("it is no ONNX file")


def _packed(data: memoryview) -> list[int]:
    numbers, place = [], 0
    while place < len(data):
        number, place = _varint(data, place)
        numbers.append(number - ((number >> 63) << 64))
    return numbers


def _bytes(value: Value | None) -> memoryview:
    if not isinstance(value, memoryview):
        raise UnreadOnnxError("it is no ONNX file")
    return value


def _text(value: Value | None) -> str:
    return bytes(_bytes(value)).decode()


def _whole(value: Value) -> int:
    if not isinstance(value, int):
        raise UnreadOnnxError("it is no ONNX file")
    return value
