"""Read from a TensorRT-RTX engine file which kernels it has, and how much each reads and writes.

No engine can be opened without a GPU. But a TensorRT-RTX file holds the program for its targets as plain text: a block
`descriptors` of tensors and a block `main` of calls. The format is undocumented; this is what tensorrt-rtx 1.6.1 and
1.7.1 write. A kernel here is a call. A library call (a convolution, a pool, a matrix product) counts as one, though
the tactic chosen at run time may launch more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from starcast.errors import EngineError

_MAGIC = b"vtrt"
_SIZE_AT = slice(16, 24)  # where the file's size is, little-endian
_LONGEST = 16 * 2**20  # bytes of a program's text; a generator's has 200,000
_BYTES = {
    "half": 2, "bfloat16": 2, "bf16": 2, "float": 4, "double": 8, "bool": 1, "int8": 1, "uint8": 1, "int16": 2,
    "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "fp8": 1, "e4m3": 1, "float8e4m3": 1, "fp4": 0.5, "int4": 0.5,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A value passed between kernels. `shape` holds numbers, or symbols for sizes left open until the engine runs; a
    repeated axis (stride 0) counts as 1. `constant`: it holds weights."""

    name: str
    shape: tuple[int | str, ...]
    kind: str
    constant: bool

    def bytes_at(self, batch: int) -> float | None:
        """Its size in bytes for a batch of images. Only the first axis, the batch, may be open; None if others are."""
        first, rest = self.shape[:1], self.shape[1:]
        sizes = [batch if isinstance(size, str) else size for size in first]
        for size in rest:
            if isinstance(size, str):
                return None
            sizes.append(size)
        return math.prod(sizes) * _BYTES.get(self.kind, 4)


@dataclass(frozen=True)
class Kernel:
    """One call. `kind` is the compiler's word: `function` for generated code, `corrltn` for a convolution, and so on;
    `nodes` are the names of the ONNX nodes it computes. Tensors exclude weights and scratch; each is listed once."""

    name: str
    kind: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    nodes: tuple[str, ...]

    def traffic(self, batch: int) -> float | None:
        """Bytes of activations that it reads and writes: the least it must move."""
        return _total(tensor.bytes_at(batch) for tensor in (*self.reads, *self.writes))

    def reread(self, batch: int) -> float | None:
        """Bytes that it reads twice, as a native norm does with planes that do not fit into shared memory."""
        if "Inor" not in self.name or not any("partial_red" in tensor.name for tensor in self.writes):
            return 0.0
        sizes = [tensor.bytes_at(batch) for tensor in self.reads]
        known = [size for size in sizes if size is not None]
        return max(known, default=0.0) if len(known) == len(sizes) else None


@dataclass(frozen=True)
class Program:
    """The kernels for the GPUs of `target`: `sm89`, or `sm86 sm89` for one program that serves both."""

    target: str
    kernels: tuple[Kernel, ...]

    @cached_property
    def kinds(self) -> dict[str, int]:
        """The number of kernels of each kind, the most frequent first."""
        kinds = [kernel.kind for kernel in self.kernels]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds), key=lambda kind: (-kinds.count(kind), kind))}

    def megabytes(self, batch: int) -> float | None:
        """Activations that all kernels read and write, in 10^6 bytes per image at that batch size (for a fixed batch:
        at its own); None if heights or widths are open."""
        return _per_image(_total(kernel.traffic(batch) for kernel in self.kernels), batch)

    def reread_megabytes(self, batch: int) -> float | None:
        """Bytes that native norms read a second time, in 10^6 per image."""
        return _per_image(_total(kernel.reread(batch) for kernel in self.kernels), batch)


def programs_of(engine: bytes) -> tuple[Program, ...]:
    """The programs of an engine file, one for each target that was compiled separately. Raises EngineError if the
    bytes are not a TensorRT-RTX engine, or hold no text that we can read."""
    if engine[:4] != _MAGIC:
        raise EngineError("the file is not a TensorRT-RTX engine: build it again with `starcast build`")
    declared = int.from_bytes(engine[_SIZE_AT], "little")
    if declared > len(engine):
        raise EngineError(
            f"the engine has {len(engine)} bytes instead of {declared}: build it again with `starcast build`"
        )
    found = re.finditer(rb"accelerators=\{\s*(sm\d[\w ]*?)\s*\}", engine)
    programs = tuple(filter(None, (_program(engine, match) for match in found)))
    if not programs:
        raise EngineError(
            "the engine holds no program that starcast can read: build it with tensorrt-rtx 1.6.1 or 1.7.1"
        )
    return programs


def _program(engine: bytes, target: re.Match[bytes]) -> Program | None:
    """The program that follows a line of targets; None if the line belongs to something else."""
    tensors_at, calls_at = (engine.find(word, target.end()) for word in (b"descriptors {", b"\nmain {"))
    if not 0 <= tensors_at < calls_at < target.end() + _LONGEST:
        return None
    described = _block(engine, tensors_at, calls_at)
    tensors = {_field(body, "name"): _tensor(body) for word, body in described if word in {"tensor", "sub_tensor"}}
    kernels = (_kernel(word, body, tensors) for word, body in _block(engine, calls_at, calls_at + _LONGEST))
    return Program(target[1].decode(), tuple(filter(None, kernels)))


def _tensor(body: str) -> Tensor:
    dims, strides = _field(body, "dims").split(), _field(body, "strides").split()
    if len(strides) != len(dims):
        strides = ["1"] * len(dims)
    shape = tuple(
        1 if stride == "0" else int(dim) if dim.isdigit() else dim for dim, stride in zip(dims, strides, strict=True)
    )
    constant = "const_payload_size" in body or _field(body, "region").endswith("-consts")
    return Tensor(_field(body, "name"), shape, _field(body, "type").lower(), constant)


def _kernel(word: str, body: str, tensors: dict[str, Tensor]) -> Kernel | None:
    """A kernel; None for a call without tensors: events, waits, arithmetic on shapes."""
    reads, writes = _names(body, "input_args", "input", "inputs"), _names(body, "output_args", "output", "outputs")
    if not reads and not writes:
        return None
    nodes = re.findall(r"ONNX Layer: ([^\]\n]*)\]", body)
    known_reads, known_writes = (
        tuple(tensors[name] for name in dict.fromkeys(names) if name in tensors and not tensors[name].constant)
        for names in (reads, writes)
    )
    return Kernel(_field(body, "name"), word, known_reads, known_writes, tuple(nodes))


def _block(engine: bytes, start: int, end: int) -> Iterator[tuple[str, str]]:
    """(word, body) of each `word={ body }` directly within the first block of a range of the text."""
    text = engine[start:end].decode("latin-1")
    opening = text.index("{")
    text = text[: _closing(text, opening)]
    head, position = re.compile(r"(\w+)\s*=\s*\{"), opening + 1
    while (match := head.search(text, position)) is not None:
        position = _closing(text, match.end() - 1)
        yield match[1], text[match.end() : position]


def _closing(text: str, opening: int) -> int:
    """The index of the brace that closes the one at `opening`; braces in quotes do not count."""
    depth = 0
    for match in re.compile(r'"[^"]*"|[{}]').finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
    raise EngineError("the engine's program ends in the middle: build it again with `starcast build`")


def _names(body: str, *keys: str) -> list[str]:
    """The quoted names in the first list `key={…}` that exists."""
    for key in keys:
        match = re.search(rf"(?<!\w){key}\s*=\s*\{{([^}}]*)\}}", body)
        if match is not None:
            return re.findall(r'"([^"]*)"', match[1])
    return []


def _field(body: str, key: str) -> str:
    """The value after `key=`: quoted, in braces or bare; empty where the key is missing."""
    match = re.search(rf'(?<!\w){key}\s*=\s*(?:"([^"]*)"|\{{([^}}]*)\}}|(\S+))', body)
    return next(found for found in match.groups() if found is not None).strip() if match is not None else ""


def _total(sizes: Iterator[float | None]) -> float | None:
    total = 0.0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _per_image(size: float | None, batch: int) -> float | None:
    return None if size is None else size / 1e6 / batch
