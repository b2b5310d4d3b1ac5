"""The style's matrix products become one, and 1 + gamma a bias."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import graph, operators, run

from starcast.export.passes.style_products import fold_one_plus_gamma, join_style_products

ADAIN = (
    "g{k} = Gemm <transB = 1> (style, w{k}, b{k})  r{k} = Reshape (g{k}, column)  "
    "gamma{k}, beta{k} = Split <axis = 1, num_outputs = 2> (r{k})  o{k} = Add (gamma{k}, one)  "
    "m{k} = Mul (o{k}, {x})  a{k} = Add (m{k}, beta{k})  "
)
TWO = ADAIN.format(k=1, x="x") + ADAIN.format(k=2, x="a1") + "y = Identity (a2)"
INPUTS = "float[N, 3, H, W] x, float[N, 4] style"


def network(nodes: str, inputs: str = INPUTS):
    draws = np.random.RandomState(0)
    return graph(
        nodes, inputs, "float[N, 3, H, W] y", column=np.array([-1, 6, 1, 1]), one=1.0,
        w1=draws.standard_normal((6, 4)), w2=draws.standard_normal((6, 4)), b1=draws.standard_normal(6),
        b2=draws.standard_normal(6), w3=draws.standard_normal((4, 6)), pieces=np.array([3, 3]), sides=np.array([2, 3]),
    )  # fmt: skip


def feeds():
    draws = np.random.RandomState(1)
    return draws.standard_normal((2, 3, 5, 5)).astype(np.float32), draws.standard_normal((2, 4)).astype(np.float32)


def test_the_spread_of_the_product_may_be_an_unsqueeze():
    nodes = TWO.replace("Reshape (g1, column)", "Unsqueeze (g1, sides)").replace(
        "Reshape (g2, column)", "Unsqueeze (g2, sides)"
    )
    model, before = network(nodes), network(nodes)
    assert fold_one_plus_gamma(model).fired == 2
    np.testing.assert_allclose(run(model, *feeds()), run(before, *feeds()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("split", ["Split <axis = 1, num_outputs = 2> (r", "Split <axis = 1> (r"])
def test_one_plus_gamma_goes_into_the_bias_and_the_numbers_stay(split):
    nodes = TWO.replace("Split <axis = 1, num_outputs = 2> (r", split)
    if "num_outputs" not in split:
        nodes = nodes.replace("(r1)", "(r1, pieces)").replace("(r2)", "(r2, pieces)")
    model, before = network(nodes), network(nodes)
    assert fold_one_plus_gamma(model).fired == 2
    assert operators(model)["Add"] == 2
    np.testing.assert_allclose(run(model, *feeds()), run(before, *feeds()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("nodes", [TWO, TWO.replace("w1, b1)", "w1)")], ids=["biases", "one without a bias"])
def test_all_products_become_one_and_the_numbers_stay(nodes):
    model, before = network(nodes), network(nodes)
    assert fold_one_plus_gamma(model.clone()).fired == 2
    assert join_style_products(model).fired == 2
    assert operators(model)["Gemm"] == 1
    np.testing.assert_allclose(run(model, *feeds()), run(before, *feeds()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("(gamma1, one)", "(beta1, one)", "o1: the part is also read without the constant"),
    ("y = Identity (a2)", "z = ReduceMean (g1)  y = Add (a2, z)", "o1: the product has other readers"),
    ("g1 = Gemm <transB = 1> (style, w1, b1)", "g1 = Gemm <transB = 1, alpha = 2.0> (style, w1, b1)",
     "o1: it is not added to a part of a matrix product with constant weights"),
])  # fmt: skip
def test_a_one_that_cannot_go_into_the_bias_stays_and_says_why(old, new, reason):
    assert old in TWO
    model, before = network(TWO.replace(old, new)), network(TWO.replace(old, new))
    outcome = fold_one_plus_gamma(model)
    assert outcome.declined == (reason,)
    np.testing.assert_allclose(run(model, *feeds()), run(before, *feeds()), rtol=1e-5, atol=1e-5)


def test_a_product_of_another_kind_is_not_joined_and_says_why():
    nodes = TWO.replace("Gemm <transB = 1> (style, w2, b2)", "Gemm (style, w3, b2)")
    outcome = join_style_products(network(nodes))
    assert (outcome.fired, outcome.declined) == (0, ("g2: it is no x W^T + b with constant weights",))
