"""Pools and 1x1 convolutions become one convolution with stride 2: the same numbers, at the borders too."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import gap, graph, operators

from starcast.export.passes.pooled_shortcuts import PooledIn4, PooledInFirst
from starcast.export.passes.rule import apply_rules

POOL = "AveragePool <kernel_shape = [2, 2], strides = [2, 2]>"
SHORTCUT = f"p = {POOL} (x)  y = Conv (p, w1, b)"
FIRST = f"c = Conv <pads = [1, 1, 1, 1]> (x, w, a)  p = {POOL} (c)  s = Conv (p, w1, b)  "
BOTH = FIRST + f"q = {POOL} (c)  y = Add (s, q)"


def network(nodes: str, inputs: int = 3):
    draws = np.random.RandomState(0)
    return graph(
        nodes, f"float[N, {inputs}, H, W] x, float[16, 16, 1, 1] computed", "float[N, 16, H2, W2] y",
        w=draws.standard_normal((16, inputs, 3, 3)), a=draws.standard_normal(16), b=draws.standard_normal(16),
        w1=draws.standard_normal((16, 16 if "c = " in nodes else inputs, 1, 1)),
    )  # fmt: skip


def images(inputs: int = 3):
    return np.random.RandomState(1).standard_normal((2, inputs, 8, 6)).astype(np.float32)


@pytest.mark.parametrize("nodes", [SHORTCUT, SHORTCUT.replace(", b)", ")")], ids=["a bias", "no bias"])
def test_a_mean_goes_into_a_kernel_of_2x2(nodes):
    model, before = network(nodes), network(nodes)
    assert apply_rules(model, PooledIn4).fired == 1
    assert operators(model) == {"Conv": 1}
    assert gap(model, before, images()) < 1e-6


@pytest.mark.parametrize("nodes", [
    BOTH, BOTH.replace(", b)", ")"), BOTH.replace(", a)", ")"), BOTH.replace(", b)", ")").replace(", a)", ")"),
], ids=["biases", "one in front", "one behind", "none"])  # fmt: skip
def test_a_mean_goes_into_a_copy_of_the_first_convolution(nodes):
    model, before = network(nodes), network(nodes)
    assert apply_rules(model, PooledInFirst).fired == 1
    assert operators(model) == {"Conv": 2, "AveragePool": 1, "Add": 1}  # the first stays for its other reader
    assert gap(model, before, images()) < 1e-5


@pytest.mark.parametrize(("kind", "nodes", "reason"), [
    (PooledIn4, SHORTCUT.replace("w1", "computed"), "its weight is not constant"),
    (PooledIn4, SHORTCUT.replace("Conv (p", "Conv <strides = [2, 2]> (p"), "its strides are not 1"),
    (PooledIn4, SHORTCUT.replace("= [2, 2]> (x)", "= [1, 1]> (x)"), "the pool is not 2x2 with stride 2"),
    (PooledIn4, SHORTCUT + "  u = Relu (p)", "another node reads an intermediate value"),
    (PooledInFirst, BOTH.replace("pads = [1, 1, 1, 1]", "pads = [0, 0, 0, 0]"), "its border is not 1"),
    (PooledInFirst, BOTH.replace("Conv (p", "Conv <group = 2> (p"), "it is grouped"),
])  # fmt: skip
def test_it_declines_with_a_reason(kind, nodes, reason):
    outcome = apply_rules(network(nodes), kind)
    assert outcome.fired == 0
    assert [sentence.partition(": ")[2] for sentence in outcome.declined] == [reason]


def test_it_declines_where_the_first_convolution_reads_many_channels():
    outcome = apply_rules(network(BOTH, inputs=4), PooledInFirst)
    assert (outcome.fired, outcome.declined) == (0, ("s: it would need more products than the mean",))
