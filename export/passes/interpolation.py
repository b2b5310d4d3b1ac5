"""A convolution of an interpolated and filtered map, computed with a quarter of the products.

    Resize (bilinear, 2x), filter across and down, Conv3x3        36 products per input
    -> ConvTranspose3x3 with stride 2, one longer filter           9, and those of the border

Away from the border all of these are convolutions of the map with zeros put in between, and convolutions commute: the
3x3 comes first, on the small map, and the taps of interpolation and filter become one filter. Near the border they do
not commute, because the interpolation repeats the last pixel, and the filter and the 3x3 each see zeros outside. The
border has one more row, and one more column, than the filter has taps, both sides together. It is computed as before,
from strips of the map, and joined to the rest.

Along one axis, with v[2i] = x[i] and zeros between: the interpolation is u[p] = (v[p-2] + 3 v[p-1] + 3 v[p] + v[p+1]) /
4; the filter, with `b` zeros before, `a` after, is f[p] = sum_j t[j] u[p-b+j]; the 3x3 is y[p] = sum_k w[k] f[p-1+k].
If x is padded by one repeated pixel, output rows b+1 to 2h-2-a read nothing outside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.graphs.facts import (
    add_constant,
    add_node,
    at_size,
    attributes,
    convolution,
    interpolating,
    numbers,
    replace_node,
)
from starcast.export.passes.rule import Outcome, replace_nodes

BILINEAR = np.array([1, 3, 3, 1], np.float64) / 4
WORTH = 0.75  # largest share of the products that may remain: small maps are mostly border, and nodes cost time
_ROWS, _COLUMNS = 2, 3  # axes of a map


@dataclass(frozen=True)
class _Place:
    """A 3x3 convolution and the nodes before it, from the map `x` on: Resize, the filter across, the filter down."""

    conv: ir.Node
    x: ir.Value
    resize: ir.Node
    across: ir.Node
    down: ir.Node

    @property
    def taps(self) -> NDArray[np.float64]:
        weight = numbers(self.across.inputs[1])
        assert weight is not None
        taps: NDArray[np.float64] = weight[0].ravel().astype(np.float64)
        return taps

    @property
    def border(self) -> list[int]:
        """Zeros at the top, left, bottom and right. Both filters' add up, because filtering zeros gives zeros."""
        return [one + other for one, other in zip(_pads(self.across), _pads(self.down), strict=True)]


def commute_interpolations(model: ir.Model) -> Outcome:
    """Rewrite every such convolution in place, if the graph has a fixed image size."""
    places = {conv: place for conv in model.graph if (place := _find(conv)) is not None}
    sides = _input_sides(model, places.values()) if places else {}
    return replace_nodes(
        model, places, lambda conv: _refusal(places[conv], sides.get(places[conv].resize.name)),
        lambda graph, conv: _replace(graph, places[conv]),
    )  # fmt: skip


def _find(conv: ir.Node) -> _Place | None:
    """The place of a 3x3 convolution of a filtered enlargement; None for other nodes."""
    if conv.op_type != "Conv" or convolution(conv, side=3, pad=1) is not None:
        return None
    down = _filter_before(conv.inputs[0], axis=_ROWS)
    across = _filter_before(down.inputs[0], axis=_COLUMNS) if down is not None else None
    resize = across.inputs[0].producer() if across is not None and across.inputs[0] is not None else None
    if down is None or across is None or resize is None or resize.op_type != "Resize" or resize.inputs[0] is None:
        return None
    return _Place(conv, resize.inputs[0], resize, across, down)


def _filter_before(value: ir.Value | None, axis: int) -> ir.Node | None:
    """The convolution that makes a value, if it filters every channel alike along one axis."""
    node = value.producer() if value is not None else None
    weight = numbers(node.inputs[1]) if node is not None and node.op_type == "Conv" else None
    if node is None or weight is None or weight.ndim != 4 or len(node.inputs) > 2:
        return None
    alone = node.attributes.get_int("group", 1) == len(weight) and weight.shape[1] == 1
    along = weight.shape[5 - axis] == 1 and (weight == weight[:1]).all()
    plain = all(step == 1 for name in ("strides", "dilations") for step in node.attributes.get_ints(name, [1]))
    return node if alone and along and plain else None


def _refusal(place: _Place, sides: tuple[int, int] | None) -> str | None:
    reason = interpolating(place.resize)
    if reason is not None:
        return reason
    before, left, after, right = place.border
    down = numbers(place.down.inputs[1])
    assert down is not None
    if (before, after) != (left, right):
        return "its horizontal and vertical borders differ"
    if len(place.taps) != before + after + 1 or not np.array_equal(down[0].ravel(), place.taps.astype(down.dtype)):
        return "its filter is not the same in both directions, or changes the size"
    inner = [place.resize.outputs[0], place.across.outputs[0], place.down.outputs[0]]
    if any(len(value.uses()) > 1 or value.is_graph_output() for value in inner):
        return "another node reads an intermediate value"
    if sides is None:
        return "its size is not fixed, and the work at the border depends on it"
    height, width = sides
    spare = len(place.taps) + 1
    if min(sides) <= spare:
        return f"{width}x{height} is little more than border"
    kept = (height + 2) * (width + 2) + spare * (2 * height + 2 * width - spare)
    return None if kept < WORTH * 4 * height * width else f"the border of {width}x{height} would cost what is saved"


def _input_sides(model: ir.Model, places: Any) -> dict[str | None, tuple[int, int]]:
    """Height and width of each place's map, by the name of the node that enlarges it, where they are fixed."""
    names = {place.resize.name for place in places}
    ends = [*model.graph.inputs, *model.graph.outputs]
    names_of_dims = {dim.value for value in ends for dim in value.shape or () if isinstance(dim, ir.SymbolicDim)}
    if names_of_dims - {"batch", "styles", None}:
        return {}
    found = {}
    for node in at_size(model, {"batch": 1, "styles": 1}).graph:
        shape = node.inputs[0].shape if node.name in names and node.inputs[0] is not None else None
        if shape is not None and len(shape) == 4 and all(isinstance(dim, int) for dim in shape):
            found[node.name] = (int(shape[_ROWS]), int(shape[_COLUMNS]))  # type: ignore[arg-type]
    return found


def _replace(graph: ir.Graph, place: _Place) -> None:
    parts = _Parts(graph, place)
    before, _, after, _ = place.border
    top = parts.strip("top", _ROWS, 0, across=[before, after], down=[before, 0], pads=[1, 1, 0, 1])
    bottom = parts.strip("bottom", _ROWS, 1, across=[before, after], down=[0, after], pads=[0, 1, 1, 1])
    left = parts.strip("left", _COLUMNS, 0, across=[before, 0], down=[0, 0], pads=[0, 1, 0, 0])
    right = parts.strip("right", _COLUMNS, 1, across=[0, after], down=[0, 0], pads=[0, 0, 0, 1])
    middle = parts.add("Concat", left, parts.middle(), right, of=".middle", axis=_COLUMNS)
    replace_node(place.conv, parts.add("Concat", top, middle, bottom, of=".whole", axis=_ROWS))


class _Parts:
    """Adds the nodes of one place."""

    def __init__(self, graph: ir.Graph, place: _Place) -> None:
        self._graph, self._place = graph, place

    def add(self, operator: str, *inputs: ir.Value | None, of: str, **attributes: Any) -> ir.Value:
        return add_node(self._place.conv, operator, *inputs, of=of, **attributes)

    def middle(self) -> ir.Value:
        """All rows and columns but the border's."""
        place, name = self._place, str(self._place.conv.name)
        weight = numbers(place.conv.inputs[1])
        assert weight is not None
        spread = add_constant(
            self._graph, f"{name}.weight.spread", np.ascontiguousarray(weight[:, :, ::-1, ::-1].swapaxes(0, 1))
        )
        one = self._whole("one-around", [0, 0, 1, 1, 0, 0, 1, 1])
        x = self.add("Pad", place.x, one, of=".edge", mode="edge")
        x = self.add("ConvTranspose", x, spread, of=".spread", strides=[2, 2], pads=[2, 2, 2, 2])
        taps = np.convolve(place.taps, BILINEAR).astype(np.float32)
        channels = len(weight)
        for step, shape in (("across", (1, 1, 1, -1)), ("down", (1, 1, -1, 1))):
            kernel = np.repeat(taps.reshape(shape), channels, axis=0)
            constant = add_constant(self._graph, f"interpolation.{step}.{len(taps)}x{channels}", kernel)
            x = self.add("Conv", x, constant, of=f".{step}", group=channels)
        bias = place.conv.inputs[2] if len(place.conv.inputs) > 2 else None
        if bias is not None:
            column = self._whole("column", [1, -1, 1, 1])
            x = self.add("Add", x, self.add("Reshape", bias, column, of=".column"), of=".bias")
        return x

    def strip(
        self, name: str, axis: int, end: int, *, across: Sequence[int], down: Sequence[int], pads: Sequence[int]
    ) -> ir.Value:
        """The outputs along one side, as before: `end` 0 is the start of the axis. `across` and `down` are the filters'
        zeros before and after, `pads` the convolution's."""
        place = self._place
        needed = len(place.taps) + 1  # rows of the enlargement
        x = self._cut(place.x, f".{name}.small", axis, end, needed // 2 + 1)
        x = self.add("Resize", x, *place.resize.inputs[1:], of=f".{name}", **attributes(place.resize))
        x = self._cut(x, f".{name}.large", axis, end, needed)
        x = self.add(
            "Conv",
            x,
            place.across.inputs[1],
            of=f".{name}.across",
            group=self._group,
            pads=[0, across[0], 0, across[1]],
        )
        x = self.add(
            "Conv", x, place.down.inputs[1], of=f".{name}.down", group=self._group, pads=[down[0], 0, down[1], 0]
        )
        return self.add("Conv", x, *place.conv.inputs[1:], of=f".{name}", pads=list(pads))

    @property
    def _group(self) -> int:
        return int(self._place.across.attributes.get_int("group", 1))

    def _cut(self, x: ir.Value, of: str, axis: int, end: int, count: int) -> ir.Value:
        """The first or the last `count` rows or columns."""
        start, stop = (0, count) if end == 0 else (-count, np.iinfo(np.int64).max)
        bounds = [self._whole(f"from.{start}", [start]), self._whole(f"to.{stop}", [stop])]
        return self.add("Slice", x, *bounds, self._whole(f"axis.{axis}", [axis]), of=of)

    def _whole(self, name: str, values: Sequence[int]) -> ir.Value:
        return add_constant(self._graph, f"interpolation.{name}", np.array(values, np.int64))


def _pads(conv: ir.Node) -> list[int]:
    return list(conv.attributes.get_ints("pads", [0, 0, 0, 0]))
