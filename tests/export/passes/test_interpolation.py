"""A 3x3 of an interpolated and filtered map: fewer products, the same numbers up to the last pixel, or a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import gap, graph, operators

from starcast.export.graphs.cost import flop_of_nodes
from starcast.export.passes.interpolation import commute_interpolations
from starcast.export.passes.rule import Outcome

IN, OUT = 3, 2
RESIZE = 'Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">'
SPLIT = "n = Neg (y)"


def place(
    height: int, width: int, taps: Any = (1, 3, 3, 1), *, before: int | None = None, bias: bool = False,
    together: bool = False, resize: str = RESIZE, after: str = SPLIT, down: Any = None,
) -> ir.Model:  # fmt: skip
    """The nodes that an exporter writes; `together`: the first filter has the borders of both."""
    taps = np.asarray(taps, np.float64) / np.sum(taps)
    start = (len(taps) - 1) // 2 if before is None else before
    end = len(taps) - 1 - start
    pads = ([start, start, end, end], [0] * 4) if together else ([0, start, 0, end], [start, 0, end, 0])
    draws = np.random.RandomState(len(taps) + 8 * height + width)
    nodes = f"""
        u = {resize} (x, , doubled)
        a = Conv <group = {IN}, pads = {pads[0]}> (u, across)
        f = Conv <group = {IN}, pads = {pads[1]}> (a, down)
        y = Conv <pads = [1, 1, 1, 1]> (f, w{", b" if bias else ""})
        {after}
    """
    return graph(
        nodes, f"float[batch, {IN}, {height}, {width}] x", f"float[batch, {OUT}, {2 * height}, {2 * width}] n",
        doubled=np.array([1.0, 1, 2, 2]), across=np.tile(taps.reshape(1, 1, 1, -1), (IN, 1, 1, 1)),
        down=np.tile(np.reshape(taps if down is None else down, (1, 1, -1, 1)), (IN, 1, 1, 1)),
        w=draws.standard_normal((OUT, IN, 3, 3)), b=draws.standard_normal(OUT),
    )  # fmt: skip


def maps(height: int, width: int, count: int = 2) -> np.ndarray:
    return np.random.RandomState(1).standard_normal((count, IN, height, width)).astype(np.float32)


FILTERS = st.integers(2, 8).flatmap(
    lambda count: st.tuples(st.lists(st.integers(1, 5), min_size=count, max_size=count), st.integers(0, count - 1))
)


@given(st.integers(16, 23), st.integers(16, 23), FILTERS, st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_filter_and_size_gives_the_same_numbers(
    height: int, width: int, filter: tuple[list[int], int], bias: bool, together: bool
) -> None:
    taps, before = filter
    model = place(height, width, taps, before=before, bias=bias, together=together)
    plain = model.clone()
    outcome = commute_interpolations(model)
    if len(taps) > 4:  # the border may cost too much
        assert outcome.fired + len(outcome.declined) == 1
    else:
        assert outcome.fired == 1
    assert gap(model, plain, maps(height, width)) < 1e-5


def test_it_saves_most_products_of_large_maps() -> None:
    model = place(128, 128)
    products = 2 * 9 * IN * OUT
    assert flop_of_nodes(model, {"batch": 1})["y"] == 256 * 256 * products
    commute_interpolations(model)
    flop = {name: count for name, count in flop_of_nodes(model, {"batch": 1}).items() if count % products == 0}
    # once for each pixel of the small map and of its repeated border, and in 5 rows and 5 columns of the large one
    assert sum(flop.values()) == (130 * 130 + 5 * 256 + 5 * 251) * products


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"height": 8, "width": 8}, "the border of 8x8 would cost what is saved"),
        ({"height": 4, "width": 16}, "16x4 is little more than border"),
        ({"height": "A", "width": 16}, "its size is not fixed"),
        ({"resize": RESIZE.replace("half_pixel", "align_corners")}, "its upsampling is not bilinear"),
        ({"resize": RESIZE.replace('"linear"', '"nearest"')}, "its upsampling is not bilinear"),
        ({"down": (0.1, 0.4, 0.4, 0.1)}, "its filter is not the same in both directions"),
        ({"after": "s = ReduceSum (f)  n = Add (y, s)"}, "another node reads an intermediate value"),
    ],
)  # fmt: skip
def test_it_leaves_other_places_and_says_why(changes: dict[str, Any], reason: str) -> None:
    model = _with(changes)
    before = operators(model)
    outcome = commute_interpolations(model)
    assert outcome.fired == 0
    [line] = outcome.declined
    assert line.startswith(f"y: {reason}")
    assert operators(model) == before


def _with(changes: dict[str, Any]) -> ir.Model:
    sides = {"height": 16, "width": 16, **{name: changes[name] for name in ("height", "width") if name in changes}}
    rest = {name: value for name, value in changes.items() if name not in sides}
    if sides["height"] == "A":
        model = place(16, 16, **rest)
        model.graph.inputs[0].shape = ir.Shape(["batch", IN, "A", 16])
        return model
    return place(sides["height"], sides["width"], **rest)


def test_graphs_without_interpolation_are_left_alone() -> None:
    nodes, weight = "n = Conv <pads = [1, 1, 1, 1]> (x, w)", np.ones((2, 3, 3, 3))
    model = graph(nodes, "float[batch, 3, 16, 16] x", "float[batch, 2, 16, 16] n", w=weight)
    assert commute_interpolations(model) == Outcome(0)
    assert operators(model) == {"Conv": 1}
