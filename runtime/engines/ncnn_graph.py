"""Read the text of an ncnn graph, and follow the shapes of its blobs from layer to layer.

ncnn trusts its files. A slice wider than its input, or a sum of maps of different sizes, crashes the process, and a
single resize factor can exhaust the memory. So a graph is checked here before ncnn sees it: it may only have
the layers that export writes (export/targets/ncnn.py; `ncnn_layers` knows them), with shapes that fit each other and
weights that fill their file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from starcast.runtime.engines.ncnn_layers import (
    MAP,
    Layer,
    NcnnGraphError,
    Shape,
    check_parameters,
    outputs_of,
    weights_of,
)
from starcast.runtime.manifest_bounds import CHANNELS

_MAGIC = "7767517"
_ARRAY = -23300  # an array parameter's key is this minus its number
LARGEST_FILE = 2**24  # bytes of text; a large network has 20,000

IMAGE, OUTPUT = "image", "translation"
CONDITIONS = ("gamma_beta", "style")  # a frame graph takes one of them, beside the image or noise
_WHOLE, _POINT = re.compile(r"-?\d{1,10}"), re.compile(r"-?\d+\.\d*(e[+-]?\d+)?")
_CONTROL = re.compile(r"[^\x20-\x7e\t\r\n]")
_LONGEST_NAME, _LONGEST_NUMBER = 255, 15  # characters that ncnn reads
_LARGEST_PLANE = 2**31  # numbers; ncnn counts them in 32 bits
_ANY_SIZE = 1, 1  # of an image, where none is at hand


@dataclass(frozen=True)
class NcnnGraph:
    """A graph's layers, in order."""

    layers: tuple[Layer, ...]

    @property
    def condition(self) -> tuple[str, int]:
        """The name and length of the style, or of the scales and shifts. Raises NcnnGraphError if it is not a frame
        graph."""
        for name, shape in self.inputs_at(*_ANY_SIZE).items():
            if name in CONDITIONS and len(shape) == 1:
                return name, shape[0]
        raise NcnnGraphError(f"it is not a frame graph: it has no input {' or '.join(CONDITIONS)}")

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """The shapes of its inputs, by name, with None for lengths that depend on the image's size. Raises
        NcnnGraphError."""
        grow = self._trained_sides is not None
        return {
            name: (shape[0], None, None) if name == IMAGE or (grow and len(shape) == MAP) else shape
            for name, shape in self.inputs_at(*_ANY_SIZE).items()
        }

    def inputs_at(self, height: int, width: int) -> Mapping[str, Shape]:
        """The shapes of its inputs, by name, for an image of that size. Raises NcnnGraphError.

        If the text states a size for the image, it is the trained one: the other maps that the graph takes are stated
        for it, and grow with the image.
        """
        trained, shapes = self._trained_sides, {}
        for layer in self._input_layers():
            name = layer.writes[0]
            shape = (CHANNELS, height, width) if name == IMAGE else _stated(layer)
            if name != IMAGE and len(shape) == MAP:
                if trained is None and shape[0] != 1:
                    raise NcnnGraphError(f"{layer.name} is neither a vector nor a plane")
                if trained is not None:
                    shape = shape[0], shape[1] * height // trained[0], shape[2] * width // trained[1]
            shapes[name] = shape
        return shapes

    @property
    def _trained_sides(self) -> tuple[int, int] | None:
        """The height and width of an image that the text states, if it does. Raises NcnnGraphError."""
        for layer in self._input_layers():
            if layer.writes == (IMAGE,) and layer.numbers:
                shape = _stated(layer)
                if len(shape) != MAP or shape[0] != CHANNELS:
                    raise NcnnGraphError(f"{layer.name} is no RGB image")
                return shape[1], shape[2]
        return None

    def _input_layers(self) -> Iterator[Layer]:
        return (layer for layer in self.layers if layer.kind == "Input" and len(layer.writes) == 1)

    @property
    def weight_bytes(self) -> int:
        """The size that the file of its weights must have."""
        return sum(4 * weights_of(layer) for layer in self.layers)

    def largest_blobs(self, height: int, width: int) -> int:
        """Bytes of the two largest neighbours among its blobs, in float32, for an image of that size.

        Raises NcnnGraphError if shapes do not fit each other.
        """
        return 4 * max(sum(map(math.prod, (*has, *made))) for _, has, made in self.walk(height, width))

    def walk(self, height: int, width: int) -> Iterator[tuple[Layer, list[Shape], list[Shape]]]:
        """Each layer with the shapes of its inputs and outputs, for an image of that size.

        Raises NcnnGraphError if shapes do not fit each other.
        """
        shapes: dict[str, Shape] = {}
        inputs = self.inputs_at(height, width)
        written: set[str] = set()
        for layer in self.layers:
            has = [shapes.pop(name) for name in layer.reads if name in shapes]  # a blob is read once
            if len(has) != len(layer.reads):
                raise NcnnGraphError(f"{layer.name} reads a blob that no layer before it writes")
            made = _input(layer, has, inputs) if layer.kind == "Input" else outputs_of(layer, has)
            if len(made) != len(layer.writes) or any(length < 1 for shape in made for length in shape):
                raise NcnnGraphError(f"the outputs of {layer.name} do not fit its input")
            if any(math.prod(shape[1:]) >= _LARGEST_PLANE for shape in made):
                raise NcnnGraphError(f"the outputs of {layer.name} are too large for ncnn")
            if not written.isdisjoint(layer.writes) or len(set(layer.writes)) < len(layer.writes):
                raise NcnnGraphError(f"{layer.name} writes a blob that already exists")
            written.update(layer.writes)
            shapes.update(zip(layer.writes, made, strict=True))
            yield layer, has, made
        if len(shapes.get(OUTPUT, ())) != 3:
            raise NcnnGraphError(f"it makes no map called {OUTPUT}")


def read_graph(path: Path) -> NcnnGraph:
    """The graph in a .param file. Raises NcnnGraphError, OSError."""
    if path.stat().st_size > LARGEST_FILE:
        raise NcnnGraphError("it is too large for an ncnn graph")
    try:
        text = path.read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        raise NcnnGraphError("it is not plain text") from error
    if _CONTROL.search(text):  # Python and C disagree on what separates words
        raise NcnnGraphError("it is not plain text")
    lines = text.splitlines()
    if len(lines) < 2 or lines[0].strip() != _MAGIC:
        raise NcnnGraphError("it does not begin with ncnn's magic number")
    layers = tuple(_read_layer(line) for line in lines[2:] if line.strip())
    counts = [str(len(layers)), str(sum(len(layer.writes) for layer in layers))]
    if lines[1].split() != counts:
        raise NcnnGraphError(f"it has {counts[0]} layers and {counts[1]} blobs, and says otherwise")
    graph = NcnnGraph(layers)
    for layer in layers:
        check_parameters(layer)
    return graph


def _read_layer(line: str) -> Layer:
    try:
        kind, name, reads, writes, *rest = line.split()
        ends = _whole(reads), _whole(reads) + _whole(writes)
        if not 0 <= ends[0] <= ends[1] <= len(rest) or any(len(word) > _LONGEST_NAME for word in (kind, name, *rest)):
            raise ValueError(line)
        numbers: dict[int, int | float] = {}
        arrays: dict[int, tuple[int, ...]] = {}
        for key, _, value in (word.partition("=") for word in rest[ends[1] :]):
            number = _whole(key)
            is_array = number <= _ARRAY
            number = _ARRAY - number if is_array else number
            if number in numbers or number in arrays:
                raise ValueError(line)
            if is_array:
                count, *values = map(_whole, value.split(","))
                if count != len(values):
                    raise ValueError(line)
                arrays[number] = tuple(values)
            else:
                numbers[number] = _number(value)
    except ValueError as error:
        raise NcnnGraphError(f"the line {line[:60]!r} is not a layer") from error
    return Layer(kind, name, tuple(rest[: ends[0]]), tuple(rest[ends[0] : ends[1]]), numbers, arrays)


def _whole(word: str) -> int:
    """A whole number as ncnn reads it. Raises ValueError for what it would read as another number."""
    if not _WHOLE.fullmatch(word) or not -(2**31) <= int(word) < 2**31:
        raise ValueError(word)
    return int(word)


def _number(word: str) -> int | float:
    """A number as ncnn reads it: a float if it has a point, and else a whole number. Raises ValueError."""
    if _POINT.fullmatch(word) and len(word) <= _LONGEST_NUMBER:
        return float(word)
    return _whole(word)


def _input(layer: Layer, has: list[Shape], inputs: Mapping[str, Shape]) -> list[Shape]:
    """The shape of an input."""
    if has:
        raise NcnnGraphError(f"{layer.name} is an input and reads {len(has)} blobs")
    return [inputs[name] for name in layer.writes if name in inputs]


def _stated(layer: Layer) -> Shape:
    """The shape that an input states: a vector, a plane of noise, or maps."""
    width, height, channels = (layer.whole(key) for key in range(3))
    if not height and not channels:
        return (width,)
    if min(width, height, channels) < 1:
        raise NcnnGraphError(f"{layer.name} is neither a vector nor a plane")
    return channels, height, width
