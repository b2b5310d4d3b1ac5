"""Factors of residual sums go into the norms behind them, or stay where something else would see them."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import gap, graph, operators

from starcast.export.passes.residual_scale import carry_residual_scales

NORM = "InstanceNormalization <epsilon = 0.01>"
BLOCK = (
    "n{k} = " + NORM + " ({x}, scale, shift)  c{k} = Conv <pads = [1, 1, 1, 1]> (n{k}, w{k}, b)  "
    "s{k} = Add ({x}, c{k})  x{k} = Div (s{k}, root)  "
)


def chain(nodes: str, inputs: str = "float[N, 3, H, W] x"):
    draws = np.random.RandomState(0)
    constants = {f"w{k}": draws.standard_normal((3, 3, 3, 3)) for k in range(1, 4)}
    return graph(
        nodes, inputs, "float[N, 3, H2, W2] y", root=np.sqrt(2.0), half=0.5, scale=draws.standard_normal(3),
        shift=draws.standard_normal(3), b=draws.standard_normal(3), w0=draws.standard_normal((3, 3, 1, 1)),
        doubled=[1.0, 1.0, 2.0, 2.0], odd=np.arange(3.0)[:, None, None], **constants,
    )  # fmt: skip


EXACT = {
    "one block": BLOCK.format(k=1, x="x") + f"y = {NORM} (x1, scale, shift)",
    "a chain of blocks": BLOCK.format(k=1, x="x") + BLOCK.format(k=2, x="x1") + BLOCK.format(k=3, x="x2")
    + f"y = {NORM} (x3, scale, shift)",
    "shortcuts with weights, a bias and resampling": BLOCK.format(k=1, x="x")
    + "p = Conv (x1, w0, b)  q = Resize (p, , doubled)  "
    + f"n2 = {NORM} (x1, scale, shift)  r2 = Resize (n2, , doubled)  c2 = Conv <pads = [1, 1, 1, 1]> (r2, w2, b)  "
    + f"s2 = Add (c2, q)  x2 = Div (s2, root)  y = {NORM} (x2, scale, shift)",
    "a branch that is pooled after its convolution": BLOCK.format(k=1, x="x")
    + f"p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x1)  n2 = {NORM} (x1, scale, shift)  "
    + "c2 = Conv <pads = [1, 1, 1, 1]> (n2, w2, b)  a2 = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (c2)  "
    + f"s2 = Add (p, a2)  x2 = Mul (s2, half)  y = {NORM} (x2, scale, shift)",
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_every_factor_goes_and_the_numbers_stay(name):
    model, before = chain(EXACT[name]), chain(EXACT[name])
    outcome = carry_residual_scales(model)
    assert outcome.fired == operators(before)["Div"] + operators(before)["Mul"]
    assert outcome.declined == ()
    assert not {"Div", "Mul"} & operators(model).keys()
    x = np.random.RandomState(1).standard_normal((2, 3, 8, 6)).astype(np.float32)
    assert gap(model, before, x) < 3e-6


def test_the_stream_does_not_grow_where_both_branches_end_in_convolutions():
    nodes = "".join(
        f"n{k} = {NORM} ({x}, scale, shift)  c{k} = Conv <pads = [1, 1, 1, 1]> (n{k}, w{k}, b)  "
        f"p{k} = Conv ({x}, w0)  s{k} = Add (p{k}, c{k})  x{k} = Div (s{k}, root)  "
        for k, x in ((1, "x"), (2, "x1"), (3, "x2"))
    )  # fmt: skip
    model, before = chain(f"{nodes}y = {NORM} (x3, scale, shift)"), chain(f"{nodes}y = {NORM} (x3, scale, shift)")
    assert carry_residual_scales(model).fired == 3
    x = np.random.RandomState(1).standard_normal((2, 3, 8, 6)).astype(np.float32)
    assert gap(model, before, x) < 3e-6
    norms = [node for node in model.graph if node.op_type == "InstanceNormalization"]
    assert {round(node.attributes.get_float("epsilon"), 6) for node in norms} == {0.01}  # nothing has been scaled


def test_a_convolution_of_the_stream_itself_has_its_bias_scaled():
    nodes = BLOCK.format(k=1, x="x") + f"z = Conv (x1, w0, b)  l = LeakyRelu (z)  y = {NORM} (l, scale, shift)"
    model, before = chain(nodes), chain(nodes)
    assert carry_residual_scales(model).fired == 1
    x = np.random.RandomState(1).standard_normal((2, 3, 8, 6)).astype(np.float32)
    assert gap(model, before, x) < 3e-6


def test_a_masked_stream_that_is_added_further_on_keeps_no_factor():
    nodes = (
        BLOCK.format(k=1, x="x") + BLOCK.format(k=2, x="x1") + "mask = Sigmoid (x)  kept = Mul (mask, x1)  "
        f"h = Conv <pads = [1, 1, 1, 1]> (kept, w3)  n = {NORM} (x2, scale, shift)  c = Conv (n, w0, b)  "
        f"t = Add (c, h)  y = {NORM} (t, scale, shift)"
    )
    model, before = chain(nodes), chain(nodes)
    outcome = carry_residual_scales(model)
    assert (outcome.fired, outcome.declined) == (2, ())
    assert "Div" not in operators(model)
    x = np.random.RandomState(1).standard_normal((2, 3, 8, 6)).astype(np.float32)
    assert gap(model, before, x) < 3e-6


DECLINED = [
    (BLOCK.format(k=1, x="x") + "y = Identity (x1)", "x1: y (Identity) does not pass a factor on"),
    (BLOCK.format(k=1, x="x") + "y = Conv (x1, w0)", "x1: the graph's output would be scaled"),
    (BLOCK.format(k=1, x="x") + "y = Tanh (x1)", "x1: y (Tanh) does not pass a factor on"),
    (BLOCK.format(k=1, x="x") + f"t = Add (x1, odd)  y = {NORM} (t, scale, shift)",
     "x1: the other branch of t has no convolution to absorb the factor"),
    (BLOCK.format(k=1, x="x") + f"t = Add (x1, c1)  y = {NORM} (t, scale, shift)",
     "x1: the other branch of t has other readers"),
    (BLOCK.format(k=1, x="x") + "t = Conv (x, computed)  u = Add (x1, t)  " + f"y = {NORM} (u, scale, shift)",
     "x1: t has weights that are not constant"),
    (BLOCK.format(k=1, x="x") + "y = Sub (odd, x1)",
     "x1: y (Sub) reads a scaled value at an input other than its first"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "reason"), DECLINED, ids=[reason for _, reason in DECLINED])
def test_a_factor_that_would_be_seen_stays_and_says_why(nodes, reason):
    inputs = "float[N, 3, H, W] x, float[3, 3, 1, 1] computed"
    model, before = chain(nodes, inputs), chain(nodes, inputs)
    outcome = carry_residual_scales(model)
    assert (outcome.fired, outcome.declined) == (0, (reason,))
    assert operators(model) == operators(before)


def test_one_factor_that_is_seen_does_not_keep_the_others():
    nodes = BLOCK.format(k=1, x="x") + BLOCK.format(k=2, x="x1") + "y = Tanh (x2)"
    model, before = chain(nodes), chain(nodes)
    outcome = carry_residual_scales(model)
    assert outcome.fired == 0  # the stream of the first block runs through the second
    assert len(outcome.declined) == 2
    assert operators(model) == operators(before)


def test_a_weight_that_two_layers_share_takes_each_ones_factor():
    nodes = BLOCK.format(k=1, x="x") + BLOCK.format(k=2, x="x1") + BLOCK.format(k=3, x="x2")
    nodes = nodes.replace("w3", "w2") + f"y = {NORM} (x3, scale, shift)"
    model, before = chain(nodes), chain(nodes)
    assert carry_residual_scales(model).fired == 3
    x = np.random.RandomState(1).standard_normal((2, 3, 8, 6)).astype(np.float32)
    assert gap(model, before, x) < 3e-6
