"""Read the text of an ncnn graph, and work out the shape of every blob.

ncnn trusts its files. A slice wider than its input, or a sum of maps of different sizes, crashes the process, and a
single resize factor can exhaust the memory. So a graph is checked here before ncnn sees it: it may only have
the layers that export writes (export/targets/ncnn.py), with shapes that fit each other and weights that fill their
file.

For parameter numbers, see ncnn's docs/developer-guide/operators.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_MAGIC = "7767517"
_ARRAY = -23300  # an array parameter's key is this minus its number
_EQUAL_SHARE = -233  # in a slice
_TO_THE_END = -233  # in a crop
_LARGEST_FACTOR = 8  # of a resize
_LARGEST_WINDOW = 2**10  # kernels, strides, dilations and pads
_MAP = 3  # axes of a map
LARGEST_FILE = 2**24  # bytes of text; a large network has 20,000

CONDITIONS = ("gamma_beta", "style")  # what a frame graph may take beside the image
_COMPUTED = 19  # the parameter of a convolution whose weight is a blob
# of a blob: (channels, height, width), (length,) for a condition, or (outputs, inputs, height, width) for a weight
Shape = tuple[int, ...]


class NcnnGraphError(ValueError):
    """Why ncnn must not load a graph, as a clause."""


@dataclass(frozen=True)
class Layer:
    """A line of the text."""

    kind: str
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    numbers: Mapping[int, float]
    arrays: Mapping[int, tuple[float, ...]]

    def whole(self, key: int, default: int = 0) -> int:
        """A parameter that must be a whole number."""
        value = self.numbers.get(key, default)
        if not math.isfinite(value) or value != int(value):
            raise NcnnGraphError(f"{self.name} has the parameter {key}={value}")
        return int(value)


@dataclass(frozen=True)
class NcnnGraph:
    """A graph's layers, in order."""

    layers: tuple[Layer, ...]

    @property
    def condition(self) -> tuple[str, int]:
        """The name and length of its input beside the image. Raises NcnnGraphError if it is not a frame graph."""
        for layer in self.layers:
            if layer.kind == "Input" and len(layer.writes) == 1 and layer.writes[0] in CONDITIONS:
                return layer.writes[0], layer.whole(0)
        raise NcnnGraphError(f"it is not a frame graph: it has no input {' or '.join(CONDITIONS)}")

    @property
    def weight_bytes(self) -> int:
        """The size that the file of its weights must have."""
        return sum(4 * _weights(layer) for layer in self.layers)

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
        for layer in self.layers:
            has = [shapes.pop(name) for name in layer.reads if name in shapes]  # a blob is read once
            if len(has) != len(layer.reads):
                raise NcnnGraphError(f"{layer.name} reads a blob that no layer before it writes")
            made = _outputs(layer, has, (3, height, width))
            if len(made) != len(layer.writes) or any(length < 1 for shape in made for length in shape):
                raise NcnnGraphError(f"the outputs of {layer.name} do not fit its input")
            if not shapes.keys().isdisjoint(layer.writes) or len(set(layer.writes)) < len(layer.writes):
                raise NcnnGraphError(f"{layer.name} writes a blob that already exists")
            shapes.update(zip(layer.writes, made, strict=True))
            yield layer, has, made
        if len(shapes.get("translation", ())) != 3:
            raise NcnnGraphError("it makes no map called translation")


def read_graph(path: Path) -> NcnnGraph:
    """The graph in a .param file. Raises NcnnGraphError, OSError."""
    if path.stat().st_size > LARGEST_FILE:
        raise NcnnGraphError("it is too large for an ncnn graph")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise NcnnGraphError("it is not text") from error
    if len(lines) < 2 or lines[0].strip() != _MAGIC:
        raise NcnnGraphError("it does not begin with ncnn's magic number")
    layers = tuple(_read_layer(line) for line in lines[2:] if line.strip())
    counts = [str(len(layers)), str(sum(len(layer.writes) for layer in layers))]
    if lines[1].split() != counts:
        raise NcnnGraphError(f"it has {counts[0]} layers and {counts[1]} blobs, and says otherwise")
    graph = NcnnGraph(layers)
    for layer in layers:
        _check_parameters(layer)
    return graph


def _read_layer(line: str) -> Layer:
    try:
        kind, name, reads, writes, *rest = line.split()
        ends = int(reads), int(reads) + int(writes)
        if not 0 <= ends[0] <= ends[1] <= len(rest):
            raise ValueError(line)
        numbers, arrays = {}, {}
        for key, _, value in (word.partition("=") for word in rest[ends[1] :]):
            if int(key) <= _ARRAY:
                count, *values = value.split(",")
                if int(count) != len(values):
                    raise ValueError(line)
                arrays[_ARRAY - int(key)] = tuple(map(float, values))
            else:
                numbers[int(key)] = float(value)
    except ValueError as error:
        raise NcnnGraphError(f"the line {line[:60]!r} is not a layer") from error
    return Layer(kind, name, tuple(rest[: ends[0]]), tuple(rest[ends[0] : ends[1]]), numbers, arrays)


def _check_parameters(layer: Layer) -> None:
    if layer.kind not in _LAYERS:
        raise NcnnGraphError(f"it has the layer {layer.kind}, which this starcast does not know")
    known = _LAYERS[layer.kind].parameters
    strange = [key for key in (*layer.numbers, *layer.arrays) if key not in known]
    if strange:
        raise NcnnGraphError(f"{layer.name} has the parameter {strange[0]}, which this starcast does not know")


def _weights(layer: Layer) -> int:
    """How many numbers of 4 bytes a layer has in the file of weights."""
    if layer.kind in ("Convolution", "Deconvolution"):
        if layer.whole(_COMPUTED):
            return 0
        return 1 + layer.whole(6) + (layer.whole(0) if layer.whole(5) else 0)  # 1: the header of the weight
    if layer.kind == "InstanceNorm":
        return 2 * layer.whole(0) if layer.whole(2, 1) else 0
    return layer.whole(0) if layer.kind in ("Bias", "Scale") else 0


def _outputs(layer: Layer, has: list[Shape], image: Shape) -> list[Shape]:
    """The shapes of a layer's outputs, from those of its inputs."""
    if layer.kind == "Input":
        return [image] if layer.writes == ("image",) else [(layer.whole(0),)]
    computed = layer.kind == "Convolution" and layer.whole(_COMPUTED)
    several = len(has) == 2 if computed else layer.kind in ("BinaryOp", "Concat")
    if not has or (len(has) > 1) > several or (computed and not several):
        raise NcnnGraphError(f"{layer.name} reads {len(has)} blobs")
    if computed:
        return _computed_convolution(layer, *has)
    if any(len(shape) > _MAP for shape in has):
        raise NcnnGraphError(f"{layer.name} reads the weight of a convolution")
    return _LAYERS[layer.kind].outputs(layer, has)


def _computed_convolution(layer: Layer, image: Shape, weight: Shape) -> list[Shape]:
    """The shape of a map after a convolution whose weight is a blob. ncnn takes the kernel's sides from the blob."""
    stated = layer.whole(0), layer.whole(11, layer.whole(1)), layer.whole(1)
    if len(image) != _MAP or len(weight) != _MAP + 1 or weight[1] != image[0]:
        raise NcnnGraphError(f"{layer.name} has a weight of {list(weight)} for a map of {list(image)}")
    if (weight[0], *weight[2:]) != stated or layer.whole(5) or layer.whole(6):
        raise NcnnGraphError(f"{layer.name} has a weight of {list(weight)} and says otherwise")
    return [(weight[0], *_sides_after(layer, image))]


def _same(layer: Layer, has: list[Shape]) -> list[Shape]:
    return has


def _per_channel(layer: Layer, has: list[Shape]) -> list[Shape]:
    """Of a layer whose first parameter is the number of channels, or 0 for none."""
    if layer.whole(0) not in (has[0][0], 0 if layer.kind == "InstanceNorm" else has[0][0]):
        raise NcnnGraphError(f"{layer.name} is for {layer.whole(0)} channels and gets {has[0][0]}")
    return has


def _window(layer: Layer, shape: Shape, pads: Iterable[int]) -> list[tuple[int, int, int, int]]:
    """(length, kernel with dilation, stride, padding) of the height and of the width."""
    if len(shape) != 3:
        raise NcnnGraphError(f"{layer.name} reads a blob that is not a map")
    pooling = layer.kind == "Pooling"
    left, right, top, bottom = pads
    across = layer.whole(1), 1 if pooling else layer.whole(2, 1), layer.whole(2 if pooling else 3, 1), left + right
    down = (
        layer.whole(11, across[0]), 1 if pooling else layer.whole(12, across[1]),
        layer.whole(12 if pooling else 13, across[2]), top + bottom,
    )  # fmt: skip
    for kernel, dilation, stride, padding in (across, down):
        if not all(1 <= value <= _LARGEST_WINDOW for value in (kernel, dilation, stride)):
            raise NcnnGraphError(f"{layer.name} has a window of {kernel}, {dilation}, {stride}")
        if min(left, right, top, bottom) < 0 or padding > _LARGEST_WINDOW:
            raise NcnnGraphError(f"{layer.name} has a padding of {padding}")
    return [
        (length, dilation * (kernel - 1) + 1, stride, padding)
        for length, (kernel, dilation, stride, padding) in zip(shape[1:], (down, across), strict=True)
    ]


def _convolution(layer: Layer, has: list[Shape]) -> list[Shape]:
    outputs, size = layer.whole(0), layer.whole(6)
    wanted = outputs * has[0][0] * layer.whole(1) * layer.whole(11, layer.whole(1))
    if outputs < 1 or size != wanted:
        raise NcnnGraphError(f"{layer.name} has {size} weights instead of {wanted}")
    return [(outputs, *_sides_after(layer, has[0]))]


def _sides_after(layer: Layer, image: Shape) -> list[int]:
    """The height and width of a map after a convolution."""
    left = layer.whole(4)
    top = layer.whole(14, left)
    windows = _window(layer, image, (left, layer.whole(15, left), top, layer.whole(16, top)))
    if layer.kind == "Deconvolution":
        return [(length - 1) * stride + kernel - padding for length, kernel, stride, padding in windows]
    return [(length + padding - kernel) // stride + 1 for length, kernel, stride, padding in windows]


def _pooling(layer: Layer, has: list[Shape]) -> list[Shape]:
    left = layer.whole(3)
    top = layer.whole(13, left)
    windows = _window(layer, has[0], (left, layer.whole(14, left), top, layer.whole(15, top)))
    if layer.whole(5) != 1:
        raise NcnnGraphError(f"{layer.name} has a padding mode other than explicit padding")
    return [(has[0][0], *((length + padding - kernel) // stride + 1 for length, kernel, stride, padding in windows))]


def _binary(layer: Layer, has: list[Shape]) -> list[Shape]:
    if len(has) == 1:
        if not layer.whole(1):
            raise NcnnGraphError(f"{layer.name} has only one operand")
        return has
    pairs = list(zip(*has, strict=False))
    if len(has) != 2 or len(has[0]) != len(has[1]) or any(1 not in pair and pair[0] != pair[1] for pair in pairs):
        raise NcnnGraphError(f"the operands of {layer.name} have the shapes {' and '.join(map(str, map(list, has)))}")
    return [tuple(map(max, pairs))]


def _split(layer: Layer, has: list[Shape]) -> list[Shape]:
    return has * len(layer.writes)


def _slice(layer: Layer, has: list[Shape]) -> list[Shape]:
    widths = [int(width) for width in layer.arrays.get(0, ()) if math.isfinite(width)]
    given = sum(width for width in widths if width != _EQUAL_SHARE)
    shares = widths.count(_EQUAL_SHARE)
    left = has[0][0] - given
    if layer.whole(1) != 0 or (left % shares if shares else left):
        raise NcnnGraphError(f"{layer.name} cuts {given} of {has[0][0]} channels")
    return [(left // shares if width == _EQUAL_SHARE else width, *has[0][1:]) for width in widths]


def _crop(layer: Layer, has: list[Shape]) -> list[Shape]:
    shape, ranges = list(has[0]), [layer.arrays.get(key, ()) for key in (9, 10, 11)]
    if len({len(part) for part in ranges}) != 1 or not all(math.isfinite(number) for part in ranges for number in part):
        raise NcnnGraphError(f"{layer.name} does not say which part to take")
    if len(set(ranges[2])) < len(ranges[2]):  # ncnn would take the last range only
        raise NcnnGraphError(f"{layer.name} cuts an axis twice")
    for start, end, axis in (map(int, each) for each in zip(*ranges, strict=True)):
        if not 0 <= axis < len(shape):
            raise NcnnGraphError(f"{layer.name} cuts axis {axis} of a blob of {len(shape)}")
        until = shape[axis] if end == _TO_THE_END else end
        if not 0 <= start < until <= shape[axis]:
            raise NcnnGraphError(f"{layer.name} takes {start} to {until} of {shape[axis]}")
        shape[axis] = until - start
    return [tuple(shape)]


def _concat(layer: Layer, has: list[Shape]) -> list[Shape]:
    if layer.whole(0) != 0 or len({shape[1:] for shape in has}) != 1:
        raise NcnnGraphError(f"{layer.name} joins blobs of the shapes {' and '.join(map(str, map(list, has)))}")
    return [(sum(shape[0] for shape in has), *has[0][1:])]


def _reshaped(layer: Layer, has: list[Shape]) -> list[Shape]:
    """A column, or the weight of a convolution."""
    length = math.prod(has[0])
    if 11 in layer.numbers:
        weight = layer.whole(2), layer.whole(11), layer.whole(1), layer.whole(0)
        if len(has[0]) != 1 or min(weight) < 1 or math.prod(weight) != length:
            raise NcnnGraphError(f"{layer.name} makes a weight of {list(weight)} from {length} numbers")
        return [weight]
    if (layer.whole(0), layer.whole(1)) != (1, 1) or layer.whole(2) not in (-1, length):
        raise NcnnGraphError(f"{layer.name} does not make a column")
    return [(length, 1, 1)]


def _mean(layer: Layer, has: list[Shape]) -> list[Shape]:
    if len(has[0]) != 3 or layer.whole(1) or not layer.whole(4) or layer.arrays.get(3) != (1, 2):
        raise NcnnGraphError(f"{layer.name} does not average a map over height and width")
    return [(has[0][0], 1, 1)]


def _resize(layer: Layer, has: list[Shape]) -> list[Shape]:
    factors = layer.whole(1), layer.whole(2)
    if len(has[0]) != 3 or not all(1 <= factor <= _LARGEST_FACTOR for factor in factors):
        raise NcnnGraphError(f"{layer.name} resizes by {factors[0]} and {factors[1]}")
    return [(has[0][0], has[0][1] * factors[0], has[0][2] * factors[1])]


def _gathered(layer: Layer, has: list[Shape]) -> list[Shape]:
    side = layer.whole(0)
    if len(has[0]) != _MAP or not 1 <= side <= _LARGEST_FACTOR or any(length % side for length in has[0][1:]):
        raise NcnnGraphError(f"{layer.name} gathers squares of {side} px from a map of {list(has[0])}")
    return [(has[0][0] * side**2, has[0][1] // side, has[0][2] // side)]


def _spread(layer: Layer, has: list[Shape]) -> list[Shape]:
    side = layer.whole(0)
    if len(has[0]) != _MAP or not 1 <= side <= _LARGEST_FACTOR or has[0][0] % side**2:
        raise NcnnGraphError(f"{layer.name} spreads a map of {list(has[0])} to squares of {side} px")
    return [(has[0][0] // side**2, has[0][1] * side, has[0][2] * side)]


@dataclass(frozen=True)
class _Kind:
    """A kind of layer: its outputs' shapes, and the parameters that it may have."""

    outputs: Callable[[Layer, list[Shape]], list[Shape]]
    parameters: frozenset[int]


_CONVOLUTION = frozenset({0, 1, 11, 2, 12, 3, 13, 4, 14, 15, 16, 5, 6})
_LAYERS: Mapping[str, _Kind] = {
    "Input": _Kind(_same, frozenset({0})),
    "Convolution": _Kind(_convolution, _CONVOLUTION | {_COMPUTED}),
    "Deconvolution": _Kind(_convolution, _CONVOLUTION),
    "Pooling": _Kind(_pooling, frozenset({0, 1, 11, 2, 12, 3, 13, 14, 15, 5, 6})),
    "InstanceNorm": _Kind(_per_channel, frozenset({0, 1, 2})),
    "ReLU": _Kind(_same, frozenset({0})),
    "TanH": _Kind(_same, frozenset()),
    "BinaryOp": _Kind(_binary, frozenset({0, 1, 2})),
    "Bias": _Kind(_per_channel, frozenset({0})),
    "Scale": _Kind(_per_channel, frozenset({0})),
    "UnaryOp": _Kind(_same, frozenset({0})),
    "Reduction": _Kind(_mean, frozenset({0, 1, 3, 4, 5})),
    "Interp": _Kind(_resize, frozenset({0, 1, 2})),
    "Split": _Kind(_split, frozenset()),
    "Slice": _Kind(_slice, frozenset({0, 1})),
    "Crop": _Kind(_crop, frozenset({9, 10, 11})),
    "Concat": _Kind(_concat, frozenset({0})),
    "Reshape": _Kind(_reshaped, frozenset({0, 1, 2, 11})),
    "Reorg": _Kind(_gathered, frozenset({0, 1})),
    "PixelShuffle": _Kind(_spread, frozenset({0, 1})),
}
