"""The messages of the Open Inference Protocol v2 over HTTP: JSON, with tensors in it or in binary behind it.

Source: "Predict Protocol - Version 2" (kserve) and its binary tensor data extension (Triton Inference Server).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

KINDS = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16,
    "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
_NAMES = {np.dtype(kind): name for name, kind in KINDS.items()}
_ENCODINGS = ("gzip", "deflate")
_MOST_DIMENSIONS = 8

Tensor = NDArray[Any]


class ProtocolError(Exception):
    """A message that cannot be read: one sentence for the client."""


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Message(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] | None = None


@dataclass(frozen=True)
class Inference:
    """What a client asks for. `outputs`: the wished ones by name, and whether in binary; None: all, as `is_binary`."""

    inputs: Mapping[str, Tensor]
    id: str
    outputs: Mapping[str, bool] | None
    is_binary: bool


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """A body without its compression. Raises ProtocolError if it would be larger than `limit`."""
    if encoding in ("", "identity"):
        return body
    if encoding not in _ENCODINGS:
        raise ProtocolError(f"the body is compressed with {encoding}: use gzip, deflate or nothing")
    unpacker = zlib.decompressobj(_window(body, encoding))
    try:
        content = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise ProtocolError(f"the body is no whole {encoding} ({error})") from error
    if len(content) > limit:
        raise ProtocolError(f"the body unpacks to more than {limit} bytes")
    return content


def _window(body: bytes, encoding: str) -> int:
    """zlib's name of a format. What is called deflate has zlib's header by RFC 9110, but some clients leave it out."""
    if encoding == "gzip":
        return 16 + zlib.MAX_WBITS
    has_header = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and (256 * body[0] + body[1]) % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


def read_inference(body: bytes, header_length: str | None) -> Inference:
    """A request for inference. `header_length`: of the JSON, if tensors follow in binary. Raises ProtocolError."""
    length = len(body) if header_length is None else _number(header_length, len(body))
    try:
        message = msgspec.json.decode(body[:length], type=_Message)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"the request cannot be read ({error})") from error
    tensors: dict[str, Tensor] = {}
    place = length
    for given in message.inputs:
        if given.name in tensors:
            raise ProtocolError(f"the input {given.name} is given twice")
        size = given.parameters.get("binary_data_size")
        if size is None:
            tensors[given.name] = _from_json(given)
        else:
            content = body[place : place + _size(given, size, len(body) - place)]
            place += len(content)
            tensors[given.name] = np.frombuffer(content, _kind(given)).reshape(given.shape)
    if place != len(body):
        raise ProtocolError(f"{len(body) - place} bytes follow that belong to no input")
    is_binary = bool(message.parameters.get("binary_data_output", False))
    wished = None
    if message.outputs is not None:
        wished = {one.name: bool(one.parameters.get("binary_data", is_binary)) for one in message.outputs}
    return Inference(tensors, message.id, wished, is_binary)


def write_answer(model: str, asked: Inference, outputs: Mapping[str, Tensor]) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON if tensors follow in binary. Raises ProtocolError for outputs that
    are not there."""
    wished = asked.outputs if asked.outputs is not None else dict.fromkeys(outputs, asked.is_binary)
    described, parts = [], []
    for name, is_binary in wished.items():
        if name not in outputs:
            raise ProtocolError(f"there is no output {name}: ask for {', '.join(outputs)}")
        tensor = np.ascontiguousarray(outputs[name])
        entry: dict[str, Any] = {"name": name, "datatype": _NAMES[tensor.dtype], "shape": list(tensor.shape)}
        if is_binary:
            parts.append(tensor.tobytes())
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = tensor.ravel().tolist()
        described.append(entry)
    answer: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": described}
    if asked.id:
        answer["id"] = asked.id
    head = msgspec.json.encode(answer)
    return b"".join([head, *parts]), len(head) if parts else None


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= most):
        raise ProtocolError(f"Inference-Header-Content-Length is {text[:40]}, but the body has {most} bytes")
    return int(text)


def _kind(given: _Input) -> np.dtype[Any]:
    if given.datatype not in KINDS:
        raise ProtocolError(f"the input {given.name} has the datatype {given.datatype}: give one of {', '.join(KINDS)}")
    return np.dtype(KINDS[given.datatype])


def _count(given: _Input) -> int:
    if len(given.shape) > _MOST_DIMENSIONS or any(length < 0 for length in given.shape):
        raise ProtocolError(f"the input {given.name} has the shape {given.shape}, which no tensor has")
    return math.prod(given.shape)


def _size(given: _Input, size: Any, left: int) -> int:
    expected = _count(given) * _kind(given).itemsize
    if size != expected or isinstance(size, bool) or expected > left:
        raise ProtocolError(
            f"the input {given.name} of the shape {given.shape} takes {expected} bytes, but has {size} of the "
            f"{left} that follow"
        )
    return expected


def _from_json(given: _Input) -> Tensor:
    kind, count = _kind(given), _count(given)
    values = list(_flat(given.data, 0))
    if len(values) != count:
        raise ProtocolError(f"the input {given.name} of the shape {given.shape} has {len(values)} values, not {count}")
    if not all(isinstance(value, int | float) for value in values):
        raise ProtocolError(f"the input {given.name} holds what is no number")
    try:
        tensor = np.array(values, kind)
    except (OverflowError, ValueError, TypeError) as error:
        raise ProtocolError(f"the input {given.name} holds what is no {given.datatype}") from error
    if kind.kind in "iub" and (np.asarray(values, object) != tensor).any():
        raise ProtocolError(f"the input {given.name} holds what is no {given.datatype}")
    return tensor.reshape(given.shape)


def _flat(data: Any, depth: int) -> Sequence[Any]:
    """The numbers of nested lists."""
    if not isinstance(data, list):
        return [data]
    if depth > _MOST_DIMENSIONS:
        raise ProtocolError("the data is nested too deeply")
    return [number for part in data for number in _flat(part, depth + 1)]
