"""Labels as constant planes become one plane of ones: the numbers stay, and it declines what it must."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import graph, operators, run

from starcast.export.passes.constant_planes import ConstantPlanes
from starcast.export.passes.rule import apply_rules
from starcast.export.passes.style_split import split_off_style

PLANES = "c = Unsqueeze (style, axes)  q = Slice (x, zero, one, one)  o = Mul (q, nothing)  p = Add (c, o)  "
PLACE = PLANES + "k = Concat <axis = 1> (x, p)  y = Conv <pads = [1, 1, 1, 1]> (k, w, b)"


def network(nodes: str, weight: np.ndarray, bias: np.ndarray, labels: int, maps: int = 3) -> ir.Model:
    return graph(
        nodes, f"float[N, {maps}, H, W] x, float[M, {labels}] style, float[5, {maps + labels}, 3, 3] computed",
        "float[N, C, H2, W2] y", axes=np.array([2, 3]), zero=np.array([0]), one=np.array([1]), two=np.array([2]),
        nothing=0.0, w=weight, b=bias,
    )  # fmt: skip


def plain(x: np.ndarray, style: np.ndarray, weight: np.ndarray, bias: np.ndarray, behind: bool, **how) -> np.ndarray:
    """PyTorch's convolution of the map and of whole label planes, in float64."""
    maps = torch.from_numpy(x.astype(np.float64))
    planes = torch.from_numpy(style.astype(np.float64))[:, :, None, None].expand(len(x), -1, *x.shape[2:])
    joined = torch.cat([maps, planes] if behind else [planes, maps], 1)
    weights, biases = (torch.from_numpy(array.astype(np.float64)) for array in (weight, bias))
    return torch.nn.functional.conv2d(joined, weights, biases, **how).numpy()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 15), st.integers(1, 4), st.integers(1, 8), st.integers(0, 4), st.integers(1, 2), st.integers(1, 2),
    st.integers(1, 13), st.integers(1, 13), st.integers(1, 3), st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_every_kernel_border_size_and_batch_gives_the_plain_convolutions_numbers(
    labels, maps, side, pad, stride, dilation, height, width, batch, behind, seed
):
    if min(height, width) + 2 * pad < dilation * (side - 1) + 1:
        return  # there is no output
    draws = np.random.RandomState(seed)
    weight, bias = draws.standard_normal((4, maps + labels, side, side)), draws.standard_normal(4)
    how = f"pads = [{pad}, {pad}, {pad}, {pad}], strides = [{stride}, {stride}], dilations = [{dilation}, {dilation}]"
    nodes = PLACE.replace("pads = [1, 1, 1, 1]", how).replace("(x, p)", "(x, p)" if behind else "(p, x)")
    model = network(nodes, weight, bias, labels, maps)
    assert apply_rules(model, ConstantPlanes).fired == 1
    x, styles = (
        draws.standard_normal(shape).astype(np.float32) for shape in ((batch, maps, height, width), (2, labels))
    )
    for style in styles[:, None]:
        expected = plain(x, style, weight, bias, behind, padding=pad, stride=stride, dilation=dilation)
        assert np.abs(run(model, x, style) - expected).max() < 2e-5 * max(1, np.abs(expected).max())


def test_the_kernel_is_computed_once_per_style_outside_the_frame():
    draws = np.random.RandomState(0)
    weight, bias = draws.standard_normal((4, 8, 3, 3)), draws.standard_normal(4)
    model = network(PLACE, weight, bias, labels=5)
    assert apply_rules(model, ConstantPlanes).fired == 1
    product = split_off_style(model)
    assert product is not None
    assert operators(product) == {"Gemm": 1}
    assert operators(model) == {"Slice": 1, "Mul": 1, "Add": 2, "Concat": 1, "Reshape": 1, "Conv": 1}
    x, style = draws.standard_normal((2, 3, 6, 4)).astype(np.float32), draws.rand(1, 5).astype(np.float32)
    kernel = run(product, style)
    assert kernel.shape == (1, 4 * (3 + 1) * 9)
    expected = plain(x, style, weight, bias, behind=True, padding=1)
    assert np.abs(run(model, x, kernel) - expected).max() < 1e-5


@pytest.mark.parametrize(("nodes", "reason"), [
    (PLACE.replace("(k, w, b)", "(k, computed)"), "its weight or bias is not constant"),
    (PLACE.replace("pads =", "group = 2, pads ="), "it is grouped"),
    (PLACE.replace("(x, p)", "(p, p)"), "it reads nothing but constant planes"),
    (PLACE.replace("(x, zero, one, one)", "(x, zero, two, one)"),
     "the map that gives the planes their size may have several channels"),
    (PLACE.replace("Slice (x, zero, one, one)", "Relu (x)"),
     "the map that gives the planes their size may have several channels"),
    (PLACE + "  z = Relu (k)  e = ReduceMax (z)  v = Add (y, e)", "another node reads an intermediate value"),
])  # fmt: skip
def test_it_declines_with_a_reason(nodes, reason):
    model = network(nodes, np.ones((5, 8, 3, 3)), np.ones(5), labels=5)
    outcome = apply_rules(model, ConstantPlanes)
    assert outcome.fired == 0
    assert [sentence.partition(": ")[2] for sentence in outcome.declined] == [reason]


@pytest.mark.parametrize("nodes", [
    PLACE.replace("Add (c, o)", "Add (c, q)"),
    PLACE.replace("Unsqueeze (style, axes)", "ReduceMax <keepdims = 1> (x, axes)"),
    "k = Concat <axis = 1> (x, x)  y = Conv <pads = [1, 1, 1, 1]> (k, w, b)",
], ids=["planes that are not constant", "planes of the map itself", "no planes"])  # fmt: skip
def test_other_joined_maps_are_ignored(nodes):
    outcome = apply_rules(network(nodes, np.ones((5, 8, 3, 3)), np.ones(5), labels=5), ConstantPlanes)
    assert (outcome.fired, outcome.declined) == (0, ())
