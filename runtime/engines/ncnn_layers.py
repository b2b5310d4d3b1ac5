"""The kinds of layers that an ncnn graph may have: their parameters, their weights, and the shapes of their outputs.

For parameter numbers, see ncnn's docs/developer-guide/operators.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

_EQUAL_SHARE = -233  # in a slice
_TO_THE_END = -233  # in a crop
_LARGEST_FACTOR = 8  # of a resize
_LARGEST_WINDOW = 2**10  # kernels, strides, dilations and pads
MAP = 3  # axes of a map
_BY_CHANNEL = ("ConvolutionDepthWise", "DeconvolutionDepthWise")  # one filter for each channel
_CONVOLUTIONS = ("Convolution", "Deconvolution", *_BY_CHANNEL)
_COMPUTED = 19  # the parameter of a Convolution whose weight is a blob
_GROUPS, _MORE_COLUMNS, _MORE_ROWS = 7, 18, 19  # parameters of convolutions by channel, and of transposed ones
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
    numbers: Mapping[int, int | float]  # a float where the text has a point: ncnn does not convert one into the other
    arrays: Mapping[int, tuple[int, ...]]

    def whole(self, key: int, default: int = 0) -> int:
        """A parameter that must be a whole number."""
        value = self.numbers.get(key, default)
        if isinstance(value, float):
            raise NcnnGraphError(f"{self.name} has the parameter {key}={value}")
        return value

    def factor(self, key: int) -> int:
        """A parameter that must be a whole number, written as a float."""
        value = self.numbers.get(key, 0)
        if not isinstance(value, float) or not value.is_integer():
            raise NcnnGraphError(f"{self.name} has the parameter {key}={value}")
        return int(value)


def check_parameters(layer: Layer) -> None:
    """Raise NcnnGraphError for a layer, or a parameter of it, that export does not write."""
    if layer.kind not in _LAYERS:
        raise NcnnGraphError(f"it has the layer {layer.kind}, which this starcast does not know")
    known = _LAYERS[layer.kind].parameters
    strange = [key for key in (*layer.numbers, *layer.arrays) if key not in known]
    if strange:
        raise NcnnGraphError(f"{layer.name} has the parameter {strange[0]}, which this starcast does not know")


def weights_of(layer: Layer) -> int:
    """How many numbers of 4 bytes a layer has in the file of weights."""
    if layer.kind in _CONVOLUTIONS:
        if _is_computed(layer):
            return 0
        return 1 + layer.whole(6) + (layer.whole(0) if layer.whole(5) else 0)  # 1: the header of the weight
    if layer.kind == "InstanceNorm":
        return 2 * layer.whole(0) if layer.whole(2, 1) else 0
    return layer.whole(0) if layer.kind in ("Bias", "Scale") else 0


def outputs_of(layer: Layer, has: list[Shape]) -> list[Shape]:
    """The shapes of a layer's outputs, from those of its inputs. Raises NcnnGraphError if they do not fit it."""
    computed = _is_computed(layer)
    several = len(has) == 2 if computed else layer.kind in ("BinaryOp", "Concat")
    if not has or (len(has) > 1) > several or (computed and not several):
        raise NcnnGraphError(f"{layer.name} reads {len(has)} blobs")
    if computed:
        return _computed_convolution(layer, *has)
    if any(len(shape) > MAP for shape in has):
        raise NcnnGraphError(f"{layer.name} reads the weight of a convolution")
    return _LAYERS[layer.kind].outputs(layer, has)


def _is_computed(layer: Layer) -> bool:
    """Whether a convolution reads its weight from a blob."""
    return layer.kind == "Convolution" and bool(layer.whole(_COMPUTED))


def _computed_convolution(layer: Layer, image: Shape, weight: Shape) -> list[Shape]:
    """The shape of a map after a convolution whose weight is a blob. ncnn takes the kernel's sides from the blob."""
    stated = layer.whole(0), layer.whole(11, layer.whole(1)), layer.whole(1)
    if len(image) != MAP or len(weight) != MAP + 1 or weight[1] != image[0]:
        raise NcnnGraphError(f"{layer.name} has a weight of {list(weight)} for a map of {list(image)}")
    if (weight[0], *weight[2:]) != stated or layer.whole(5) or layer.whole(6):
        raise NcnnGraphError(f"{layer.name} has a weight of {list(weight)}, and its parameters say otherwise")
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
    each = has[0][0]  # channels that one filter reads
    if layer.kind in _BY_CHANNEL:
        if not layer.whole(_GROUPS) == outputs == each:
            raise NcnnGraphError(
                f"{layer.name} has {layer.whole(_GROUPS)} groups and {outputs} filters for {each} channels"
            )
        each = 1
    wanted = outputs * each * layer.whole(1) * layer.whole(11, layer.whole(1))
    if outputs < 1 or size != wanted:
        raise NcnnGraphError(f"{layer.name} has {size} weights instead of {wanted}")
    return [(outputs, *_sides_after(layer, has[0]))]


def _sides_after(layer: Layer, image: Shape) -> list[int]:
    """The height and width of a map after a convolution."""
    left = layer.whole(4)
    top = layer.whole(14, left)
    windows = _window(layer, image, (left, layer.whole(15, left), top, layer.whole(16, top)))
    if not layer.kind.startswith("De"):
        return [(length + padding - kernel) // stride + 1 for length, kernel, stride, padding in windows]
    columns = layer.whole(_MORE_COLUMNS)
    more = layer.whole(_MORE_ROWS, columns), columns
    if any(not 0 <= added < max(1, stride) for added, (_, _, stride, _) in zip(more, windows, strict=True)):
        raise NcnnGraphError(f"{layer.name} adds {more[1]} columns and {more[0]} rows")
    return [
        (length - 1) * stride + kernel + added - padding
        for added, (length, kernel, stride, padding) in zip(more, windows, strict=True)
    ]


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
    widths = layer.arrays.get(0, ())
    given = sum(width for width in widths if width != _EQUAL_SHARE)
    shares = widths.count(_EQUAL_SHARE)
    left = has[0][0] - given
    if layer.whole(1) != 0 or (left % shares if shares else left):
        raise NcnnGraphError(f"{layer.name} cuts {given} of {has[0][0]} channels")
    return [(left // shares if width == _EQUAL_SHARE else width, *has[0][1:]) for width in widths]


def _crop(layer: Layer, has: list[Shape]) -> list[Shape]:
    shape, ranges = list(has[0]), [layer.arrays.get(key, ()) for key in (9, 10, 11)]
    if len({len(part) for part in ranges}) != 1:
        raise NcnnGraphError(f"{layer.name} does not say which part to take")
    if len(set(ranges[2])) < len(ranges[2]):  # ncnn would take the last range only
        raise NcnnGraphError(f"{layer.name} cuts an axis twice")
    for start, end, axis in zip(*ranges, strict=True):
        if not 0 <= axis < len(shape):
            raise NcnnGraphError(f"{layer.name} cuts axis {axis} of a blob of {len(shape)}")
        until = shape[axis] if end == _TO_THE_END else end + shape[axis] * (end < 0)
        start += shape[axis] * (_TO_THE_END < start < 0)  # counted from the end
        if not 0 <= start < until <= shape[axis]:
            raise NcnnGraphError(f"{layer.name} takes {start} to {until} of {shape[axis]}")
        shape[axis] = until - start
    return [tuple(shape)]


def _concat(layer: Layer, has: list[Shape]) -> list[Shape]:
    axis, lengths = layer.whole(0), len(has[0])
    others = {(*shape[:axis], *shape[axis + 1 :]) for shape in has if len(shape) == lengths}
    if not 0 <= axis < lengths or len(others) != 1 or any(len(shape) != lengths for shape in has):
        raise NcnnGraphError(f"{layer.name} joins blobs of the shapes {' and '.join(map(str, map(list, has)))}")
    return [(*has[0][:axis], sum(shape[axis] for shape in has), *has[0][axis + 1 :])]


def _padding(layer: Layer, has: list[Shape]) -> list[Shape]:
    top, bottom, left, right = (layer.whole(key) for key in range(4))
    if len(has[0]) != 3 or layer.whole(4) not in (0, 1):
        raise NcnnGraphError(f"{layer.name} is neither a border of zeros nor of the outermost pixels of a map")
    if not all(0 <= width <= _LARGEST_WINDOW for width in (top, bottom, left, right)):
        raise NcnnGraphError(f"{layer.name} has a border of {top}, {bottom}, {left}, {right}")
    return [(has[0][0], has[0][1] + top + bottom, has[0][2] + left + right)]


def _reshaped(layer: Layer, has: list[Shape]) -> list[Shape]:
    """Maps, or the weight of a convolution."""
    length = math.prod(has[0])
    width, height, channels = (layer.whole(key) for key in range(3))
    if 11 in layer.numbers:
        weight = channels, layer.whole(11), height, width
        if len(has[0]) != 1 or min(weight) < 1 or math.prod(weight) != length:
            raise NcnnGraphError(f"{layer.name} makes a weight of {list(weight)} from {length} numbers")
        return [weight]
    if min(width, height) < 1 or length % (width * height) or channels not in (-1, length // (width * height)):
        raise NcnnGraphError(f"{layer.name} cannot make maps of {width}x{height} from {length} numbers")
    return [(length // (width * height), height, width)]


def _mean(layer: Layer, has: list[Shape]) -> list[Shape]:
    if len(has[0]) != 3 or layer.whole(1) or not layer.whole(4) or layer.arrays.get(3) != (1, 2):
        raise NcnnGraphError(f"{layer.name} does not average a map over height and width")
    return [(has[0][0], 1, 1)]


def _resize(layer: Layer, has: list[Shape]) -> list[Shape]:
    factors = layer.factor(1), layer.factor(2)
    if layer.whole(0) not in (1, 2):
        raise NcnnGraphError(f"{layer.name} neither repeats pixels nor interpolates between two")
    if len(has[0]) != 3 or not all(1 <= factor <= _LARGEST_FACTOR for factor in factors):
        raise NcnnGraphError(f"{layer.name} resizes by {factors[0]} and {factors[1]}")
    return [(has[0][0], has[0][1] * factors[0], has[0][2] * factors[1])]


def _gathered(layer: Layer, has: list[Shape]) -> list[Shape]:
    side = layer.whole(0)
    if len(has[0]) != MAP or not 1 <= side <= _LARGEST_FACTOR or any(length % side for length in has[0][1:]):
        raise NcnnGraphError(f"{layer.name} gathers squares of {side} px from a map of {list(has[0])}")
    return [(has[0][0] * side**2, has[0][1] // side, has[0][2] // side)]


def _spread(layer: Layer, has: list[Shape]) -> list[Shape]:
    side = layer.whole(0)
    if len(has[0]) != MAP or not 1 <= side <= _LARGEST_FACTOR or has[0][0] % side**2:
        raise NcnnGraphError(f"{layer.name} spreads a map of {list(has[0])} to squares of {side} px")
    return [(has[0][0] // side**2, has[0][1] * side, has[0][2] * side)]


@dataclass(frozen=True)
class _Kind:
    """A kind of layer: its outputs' shapes, and the parameters that it may have."""

    outputs: Callable[[Layer, list[Shape]], list[Shape]]
    parameters: frozenset[int]


_CONVOLUTION = frozenset({0, 1, 11, 2, 12, 3, 13, 4, 14, 15, 16, 5, 6})
_MORE = frozenset({_MORE_COLUMNS, _MORE_ROWS})
_LAYERS: Mapping[str, _Kind] = {
    "Input": _Kind(_same, frozenset({0, 1, 2})),
    "Convolution": _Kind(_convolution, _CONVOLUTION | {_COMPUTED}),
    "ConvolutionDepthWise": _Kind(_convolution, _CONVOLUTION | {_GROUPS}),
    "Deconvolution": _Kind(_convolution, _CONVOLUTION | _MORE),
    "DeconvolutionDepthWise": _Kind(_convolution, _CONVOLUTION | _MORE | {_GROUPS}),
    "Padding": _Kind(_padding, frozenset({0, 1, 2, 3, 4})),
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
