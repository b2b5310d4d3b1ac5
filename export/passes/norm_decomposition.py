"""Instance norms decomposed into arithmetic that a compiler fuses with the nodes before and after them.

    z = Cast(x, float)            m = mean(z)            v = Max(mean(z z) - m m, 0)         "one-pass"
                                                         v = mean((z - m) (z - m))           "two-pass"
    a = scale / Sqrt(v + eps)     m' = Cast(m, half)     k = shift + (m' - m) a
    y = (x - m') Cast(a, half) + Cast(k, half)

TensorRT's own norm needs planes stored one after the other, so every norm costs two transposes, and nothing fuses into
it. The decomposed norm compiles to two kernels: one for sums and squares, one for everything from x - m' on, activation
included. The reasons for each part:

- The statistics are float32: half's squares overflow from 256 on.
- One pass puts both sums into one kernel. It loses digits as (mean / std)² grows: see norm_ranges.py.
- x - m' is exact in half if x is near m', and k restores what m' lacks. x a + b would lose 10 to 1000 times more on
  shifted planes, and cost the same.
- x is cast only for the statistics and read again in half: a float32 copy with two readers would be written to memory.
- The mean of a large plane is taken over columns, then over rows: two kernels, but no float32 copy. Small planes need
  only one.

In a float32 graph there is no cast, and m' = m.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx_ir as ir

from starcast.export.graphs.facts import add_constant, at_size, numbers, one_image
from starcast.export.passes.instance_norms import InstanceNorm, instance_norms

Statistics = Literal["one-pass", "two-pass"]
LARGE = 128**2  # pixels: the mean of larger planes is taken in two stages


def decompose_norms(model: ir.Model, side: int, statistics: Mapping[str, Statistics]) -> int:
    """Rewrite every instance norm of a frame graph, in place, and return how many there were.

    `side` is the trained image size; it decides which planes are large. `statistics` are by the norm's name; a norm
    without an entry uses two passes. The graph may be in float32, or as `to_half` leaves it.
    """
    pixels = _pixels(model, side)
    norms = list(instance_norms(model.graph))
    for norm in norms:
        _Decomposition(model.graph, norm).write(statistics.get(norm.name, "two-pass"), staged=pixels[norm.name] > LARGE)
    return len(norms)


def _pixels(model: ir.Model, side: int) -> dict[str, int]:
    """The number of pixels of each norm's planes, by the norm's name."""
    untyped = model.clone()
    for node in untyped.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.type = None
    pixels: dict[str, int] = {}
    for norm in instance_norms(at_size(untyped, one_image(side)).graph):
        shape = norm.nodes[0].outputs[0].shape
        assert shape is not None
        height, width = shape[2:]
        assert isinstance(height, int)
        assert isinstance(width, int)
        pixels[norm.name] = height * width
    return pixels


class _Decomposition:
    """Adds the nodes of one norm in front of it, named NORM.OPERATOR.NUMBER."""

    def __init__(self, graph: ir.Graph, norm: InstanceNorm) -> None:
        self._graph, self._norm = graph, norm
        self._number = itertools.count(1)
        self._kind = norm.x.dtype or ir.DataType.FLOAT
        self._last = norm.nodes[-1]

    def write(self, statistics: Statistics, *, staged: bool) -> None:
        x = self._norm.x
        wide = self._cast(x, ir.DataType.FLOAT)
        if statistics == "one-pass":
            mean, squares = self._means(wide, self._add("Mul", wide, wide), staged)
            less = self._add("Sub", squares, self._add("Mul", mean, mean))
            # rounding may take a flat plane's variance below 0, whose root would be NaN
            variance = self._add("Max", less, self._constant("nought", 0.0))
        else:
            mean = self._mean(wide, staged)
            centred = self._add("Sub", wide, mean)
            variance = self._mean(self._add("Mul", centred, centred), staged)
        raised = self._add("Add", variance, self._constant(f"epsilon.{self._norm.epsilon:.9g}", self._norm.epsilon))
        scale, shift = self._per_plane(self._norm.scale), self._per_plane(self._norm.shift)
        factor = self._add("Mul", scale, self._add("Reciprocal", self._add("Sqrt", raised)))
        near = self._cast(mean, self._kind)
        if near is not mean:
            lacking = self._add("Sub", self._cast(near, ir.DataType.FLOAT), mean)
            shift = self._add("Add", shift, self._add("Mul", lacking, factor))
        scaled = self._add("Mul", self._add("Sub", x, near), self._cast(factor, self._kind))
        self._replace(self._add("Add", scaled, self._cast(shift, self._kind)))

    def _replace(self, result: ir.Value) -> None:
        old = self._norm.output
        result.name, result.shape = old.name, old.shape
        old.replace_all_uses_with(result, replace_graph_outputs=True)
        self._graph.remove(reversed(self._norm.nodes), safe=True)

    def _means(self, first: ir.Value, second: ir.Value, staged: bool) -> tuple[ir.Value, ir.Value]:
        """Both means. The means over columns are concatenated, so that one kernel averages both over rows."""
        if not staged:
            return self._mean(first, staged), self._mean(second, staged)
        columns = self._add("Concat", self._over(first, 3), self._over(second, 3), axis=3)
        split = ir.node(
            "Split", [self._over(columns, 2)], {"axis": 3, "num_outputs": 2}, num_outputs=2, name=self._name("Split")
        )  # fmt: skip
        for index, value in enumerate(split.outputs):
            value.name, value.type = f"{split.name}.{index}", ir.TensorType(ir.DataType.FLOAT)
        self._graph.insert_before(self._last, split)
        return split.outputs[0], split.outputs[1]

    def _mean(self, value: ir.Value, staged: bool) -> ir.Value:
        return self._over(self._over(value, 3), 2) if staged else self._over(value, 2, 3)

    def _over(self, value: ir.Value, *axes: int) -> ir.Value:
        name = f"axes.{'.'.join(map(str, axes))}"
        return self._add("ReduceMean", value, add_constant(self._graph, name, np.array(axes, np.int64)))

    def _per_plane(self, value: ir.Value) -> ir.Value:
        """A scale or shift in float32 that multiplies [N, C, H, W]."""
        array = numbers(value)
        if array is not None and array.ndim == 1:
            return add_constant(self._graph, f"{value.name}.column", array.astype(np.float32)[None, :, None, None])
        return self._cast(value, ir.DataType.FLOAT)

    def _cast(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        if (value.dtype or ir.DataType.FLOAT) == kind:
            return value
        return self._add("Cast", value, to=kind, kind=kind)

    def _constant(self, name: str, number: float) -> ir.Value:
        return add_constant(self._graph, name, np.array(number, np.float32))

    def _name(self, operator: str) -> str:
        return f"{self._norm.name}.{operator}.{next(self._number)}"

    def _add(
        self, operator: str, *inputs: ir.Value, kind: ir.DataType | None = None, **attributes: int | ir.DataType
    ) -> ir.Value:
        """Add a node; its output has the first input's type unless another is given."""
        node = ir.node(operator, list(inputs), attributes or None, name=self._name(operator))
        [output] = node.outputs
        output.name = node.name
        output.type = ir.TensorType(kind or inputs[0].dtype or ir.DataType.FLOAT)
        self._graph.insert_before(self._last, node)
        return output
