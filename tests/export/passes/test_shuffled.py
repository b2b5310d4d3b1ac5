"""4x4 convolutions with stride 2 as 3x3 ones: the numbers stay, and it declines what it must."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import graph, operators, run

from starcast.export.graphs.even_sides import set_multiple
from starcast.export.passes.rule import Outcome, apply_rules
from starcast.export.passes.shuffled import GatheredIn3x3, SpreadIn3x3

DOWN = "y = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w, b)"
UP = "y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w, b)"
CASES = {GatheredIn3x3: (DOWN, {"SpaceToDepth": 1, "Conv": 1}, torch.nn.functional.conv2d),
         SpreadIn3x3: (UP, {"Conv": 1, "DepthToSpace": 1}, torch.nn.functional.conv_transpose2d)}  # fmt: skip


def network(nodes: str, weight: np.ndarray, bias: np.ndarray, multiple: int | None = 2) -> ir.Model:
    inputs = weight.shape[0 if "Transpose" in nodes else 1]
    model = graph(nodes, f"float[N, {inputs}, H, W] x", "float[N, C, H2, W2] y", w=weight, b=bias)
    if multiple is not None:
        set_multiple(model.graph.inputs[0], multiple)
    return model


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(CASES)), st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6),
    st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_it_fires_once_and_the_numbers_stay_at_every_size(kind, first, second, height, width, biased, seed):
    nodes, left, torchs = CASES[kind]
    draws = np.random.RandomState(seed)
    weight = draws.standard_normal((first, second, 4, 4)).astype(np.float32)
    inputs, outputs = (second, first) if kind is GatheredIn3x3 else (first, second)
    bias = draws.standard_normal(outputs).astype(np.float32)
    model = network(nodes if biased else nodes.replace(", b)", ")"), weight, bias)
    assert apply_rules(model, kind) == Outcome(1)
    assert operators(model) == left
    x = draws.standard_normal((2, inputs, 2 * height, 2 * width)).astype(np.float32)
    expected = torchs(*map(torch.from_numpy, (x, weight)), torch.from_numpy(bias) if biased else None, 2, 1).numpy()
    assert np.abs(run(model, x) - expected).max() < 2e-5


def test_layers_that_halve_a_size_twice_are_both_rewritten_if_it_is_a_multiple_of_4():
    draws = np.random.RandomState(0)
    twice = DOWN.replace("y =", "h =") + "  r = Relu (h)  " + DOWN.replace("(x", "(r")
    weight, bias = draws.standard_normal((3, 3, 4, 4)).astype(np.float32), draws.standard_normal(3).astype(np.float32)
    assert apply_rules(network(twice, weight, bias, multiple=4), GatheredIn3x3) == Outcome(2)
    assert apply_rules(network(twice, weight, bias, multiple=2), GatheredIn3x3) == Outcome(
        1, ("y: its map may have an odd height or width",)
    )


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("change", [
    ("pads = [1, 1, 1, 1]", "pads = [0, 0, 0, 0]"), ("pads = [", "dilations = [2, 2], pads = ["),
])  # fmt: skip
def test_it_declines_with_a_reason(kind, change):
    model = network(CASES[kind][0].replace(*change), np.ones((3, 3, 4, 4)), np.ones(3))
    assert apply_rules(model, kind) == Outcome(0, ("y: it is not 4x4 with stride 2 and a border of 1",))


def test_a_map_that_may_be_odd_is_left_alone():
    outcome = apply_rules(network(DOWN, np.ones((3, 3, 4, 4)), np.ones(3), multiple=None), GatheredIn3x3)
    assert outcome == Outcome(0, ("y: its map may have an odd height or width",))


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize(("side", "stride"), [(3, 2), (4, 1), (2, 2)])
def test_other_kernels_and_strides_are_ignored(kind, side, stride):
    nodes = CASES[kind][0].replace("strides = [2, 2]", f"strides = [{stride}, {stride}]")
    assert apply_rules(network(nodes, np.ones((3, 3, side, side)), np.ones(3)), kind) == Outcome(0)
