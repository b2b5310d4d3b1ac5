"""Instance norms over large maps, with means taken tile by tile.

    InstanceNormalization(x, scale, bias)  ->  d / sqrt(mean(d * d) + epsilon) * scale + bias,   d = x - mean(x)
    where mean is the mean of the means of small tiles

Exact; only the order of the sums differs. Engines sum a whole map in one float32 accumulator. Over 512x512 or 1024x1024
values, many of them equal where an image is flat, that loses digits: on drawings of hard black and white fields
OpenVINO was off by 2 and by 30 grey levels, ONNX Runtime by 0.6 and 5 (random weights). Means of tiles, of tiles of
tiles and so on keep the digits and take a tenth more time. (ReduceMean over columns, then over rows would be simpler,
but OpenVINO joins the two and uses its own norm again.)

OpenVINO needs this at 256x256 already: images that are mostly of one colour were off by up to 9 levels, and grey ones
by 67. Nearly all of that comes from the norms before the smallest map, whose maps are as flat as the image. With only
those split, every image is within 1 level (`split_early_norms`). ONNX Runtime needs it for some networks, on some
processors: a white image was off by 7 levels with AVX-512.

For engines that sum differently, `join_wide_norms` turns each such norm back into one node.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from starcast.export.graphs.even_sides import multiple_of_sides
from starcast.export.graphs.facts import add_constant, at_size, neutral_weights, one_image

WIDE = 256  # maps with a longer side are summed by tiles; up to here one sum is within the tolerance
FLAT_WIDE = 64  # the same where an image is mostly of one colour and the engine is OpenVINO
LAST = 16  # side of the map left for the last sum, at the trained size, where the sizes of images allow that


def split_wide_norms(model: ir.Model, side: int, wide: int | None = None) -> int:
    """Rewrite, in place, every norm whose map is wider than `wide` (default: WIDE) if images have that side. Returns
    how many there were.

    Norms with a computed scale and shift are left as they are.
    """
    return _split_wider(model.graph, _maps(model, side), side, WIDE if wide is None else wide)


def split_early_norms(model: ir.Model, side: int) -> int:
    """Rewrite, in place, the norms before the smallest map whose maps are wider than FLAT_WIDE. Returns how many there
    were."""
    maps = _maps(model, side)
    smallest = min((width for _, width in maps), default=0)
    early = itertools.takewhile(lambda entry: entry[1] > smallest, maps)
    return _split_wider(model.graph, list(early), side, FLAT_WIDE)


def _maps(model: ir.Model, side: int) -> list[tuple[ir.Node, int]]:
    """Every norm in running order, with the side of its map if images have that side."""
    sized = at_size(model, one_image(side)).graph
    return [
        (node, _side(twin))
        for node, twin in zip(model.graph, sized, strict=True)
        if node.op_type == "InstanceNormalization"
    ]


def _split_wider(graph: ir.Graph, maps: Sequence[tuple[ir.Node, int]], trained: int, wide: int) -> int:
    multiple = multiple_of_sides(graph.inputs[0])
    chosen = [
        (node, tiles)
        for node, side in maps
        if side > wide
        and all(map(_is_constant, node.inputs[1:]))
        and (tiles := _tiles(side, side // LAST if multiple is None else multiple * side // trained))
    ]
    for node, tiles in chosen:
        _split(graph, node, tiles)
    return len(chosen)


def join_wide_norms(model: ir.Model) -> int:
    """Undo `split_wide_norms` in place. Returns how many norms were joined."""
    quotients = [
        (place, node, *parts)
        for place, node in enumerate(model.graph)
        if node.op_type == "Div" and (parts := _parts(node)) is not None
    ]
    if not quotients:
        return 0
    inferred = model.clone()
    ShapeInferencePass()(inferred)
    shapes = [node.outputs[0].shape for node in inferred.graph]
    for place, quotient, x, epsilon in quotients:
        shape = shapes[place]
        assert shape is not None
        channels = shape[1]
        assert isinstance(channels, int)
        neutral = neutral_weights(model.graph, channels)
        norm = ir.node("InstanceNormalization", [x, *neutral], {"epsilon": epsilon}, name=quotient.name)
        model.graph.insert_before(quotient, norm)
        old, new = quotient.outputs[0], norm.outputs[0]
        new.name, new.type, new.shape = old.name, old.type, old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    RemoveUnusedNodesPass()(model)
    return len(quotients)


def _parts(quotient: ir.Node) -> tuple[ir.Value, float] | None:
    """x and epsilon of (x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon), or None for another quotient."""
    centred, root = quotient.inputs
    difference, raised = _maker(centred, "Sub"), _maker(_input(_maker(root, "Sqrt"), 0), "Add")
    x, variance, epsilon = _input(difference, 0), _input(raised, 0), _input(raised, 1)
    square = _maker(_averaged_value(variance), "Mul")
    if x is None or epsilon is None or not _is_constant(epsilon) or square is None:
        return None
    if _averaged_value(_input(difference, 1)) is not x or any(value is not centred for value in square.inputs):
        return None
    return x, float(_numbers(epsilon))


def _averaged_value(mean: ir.Value | None) -> ir.Value | None:
    """The value that `mean` averages tile by tile; None if it is no such mean."""
    last = _maker(mean, "ReduceMean")
    axes = _input(last, 1)
    if axes is None or not _is_constant(axes) or _numbers(axes).tolist() != [2, 3]:
        return None
    value = _input(last, 0)
    while (pool := _maker(value, "AveragePool")) is not None:
        value = pool.inputs[0]
    return value


def _maker(value: ir.Value | None, operator: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == operator else None


def _input(node: ir.Node | None, index: int) -> ir.Value | None:
    return node.inputs[index] if node is not None and index < len(node.inputs) else None


def _side(norm: ir.Node) -> int:
    """The side of a square map."""
    shape = norm.outputs[0].shape
    assert shape is not None
    height, width = shape[2:]
    assert isinstance(height, int)
    assert height == width
    return height


def _tiles(side: int, multiple: int) -> list[int]:
    """Sides of the tiles, level by level: 4, 4, … until a map of side LAST is left, or until no tile divides the maps
    of every size of images, whose sides are multiples of `multiple`."""
    tiles = []
    while side > LAST and multiple % 2 == 0:
        tiles.append(4 if side >= 4 * LAST and multiple % 4 == 0 else 2)
        side //= tiles[-1]
        multiple //= tiles[-1]
    return tiles


def _split(graph: ir.Graph, norm: ir.Node, tiles: Sequence[int]) -> None:
    x, scale, bias = norm.inputs
    assert x is not None
    assert scale is not None
    assert bias is not None
    serial = itertools.count()

    def add(operator: str, *inputs: ir.Value, **attributes: list[int]) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes or None, name=f"{norm.name}.{operator}.{next(serial)}")
        graph.insert_before(norm, node)
        return node.outputs[0]

    def mean(value: ir.Value) -> ir.Value:
        for tile in tiles:
            value = add("AveragePool", value, kernel_shape=[tile, tile], strides=[tile, tile])
        return add("ReduceMean", value, add_constant(graph, "axes.2.3", np.array([2, 3])))

    centred = add("Sub", x, mean(x))
    variance = mean(add("Mul", centred, centred))
    small = norm.attributes["epsilon"].as_float()
    epsilon = add_constant(graph, f"epsilon.{small!r}", np.array(small, np.float32))
    result = add("Div", centred, add("Sqrt", add("Add", variance, epsilon)))
    for operator, parameter, neutral in (("Mul", scale, 1), ("Add", bias, 0)):
        if not (_numbers(parameter) == neutral).all():
            result = add(operator, result, _column(graph, parameter))
    result.type, result.shape, result.name = norm.outputs[0].type, norm.outputs[0].shape, norm.outputs[0].name
    norm.outputs[0].replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(norm, safe=True)


def _column(graph: ir.Graph, parameter: ir.Value) -> ir.Value:
    """A norm's parameter [C] as [C, 1, 1], so that it multiplies maps."""
    stem, _, kind = str(parameter.name).rpartition(".")
    return add_constant(graph, f"{stem}.column.{kind}", _numbers(parameter)[:, None, None])


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None


def _numbers(value: ir.Value) -> np.ndarray:
    assert value.const_value is not None
    return value.const_value.numpy()
