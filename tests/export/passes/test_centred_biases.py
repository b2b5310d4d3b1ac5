"""Biases in front of norms centre their planes: exactly, through streams of sums too, and only where none sees it."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import gap, graph

from starcast.export.gate.candidates import open_session
from starcast.export.passes.centred_biases import centre_biases
from starcast.export.passes.instance_norms import instance_norms

NORM = "InstanceNormalization"
CONV = "Conv <pads = [1, 1, 1, 1]>"
# each block: norm, convolution, sum; `x` is the stream
BLOCK = "n{k} = " + NORM + " ({x}, scale, shift)  l{k} = LeakyRelu (n{k})  c{k} = " + CONV + " (l{k}, w{k}, b)  "
FIRST = f"x0 = {CONV} (x, w0, b)  "
END = "n9 = " + NORM + " ({x}, scale, shift)  y = LeakyRelu (n9)"


def network(nodes: str):
    draws = np.random.RandomState(0)
    constants = {f"w{k}": draws.standard_normal((4, 4, 3, 3)) for k in range(4)}
    return graph(
        nodes, "float[N, 4, H, W] x", "float[N, 4, H2, W2] y", b=10 * draws.standard_normal(4), root=np.sqrt(2.0),
        scale=draws.standard_normal(4), shift=draws.standard_normal(4), s1=draws.standard_normal((4, 4, 1, 1)),
        doubled=[1.0, 1.0, 2.0, 2.0], grouped=draws.standard_normal((4, 2, 1, 1)),
        **constants, **{f"p{a}{b}": draws.standard_normal((4, 4, 2, 2)) for a in (0, 1) for b in (0, 1)},
    )  # fmt: skip


def images():
    return (3 + np.random.RandomState(1).standard_normal((3, 4, 8, 6))).astype(np.float32)


def channel_means(model):
    """Of every norm's input, over the images."""
    watched = model.clone()
    norms = list(instance_norms(watched.graph))
    for norm in norms:
        if not norm.x.is_graph_output():
            watched.graph.outputs.append(norm.x)
            norm.x.type = watched.graph.inputs[0].type
    session = open_session(watched)
    outputs = session.run([norm.x.name for norm in norms], {"x": images()})
    return {norm.name: array.mean(axis=(0, 2, 3), dtype=np.float64) for norm, array in zip(norms, outputs, strict=True)}


PHASES = "".join(f"q{a}{b} = Conv <pads = [{1 - a}, {1 - b}, {a}, {b}]> (x, p{a}{b})  " for a in (0, 1) for b in (0, 1))
CENTRED = {
    "one convolution": FIRST + END.format(x="x0"),
    "one without a bias": FIRST.replace(", b)", ")") + END.format(x="x0"),
    "a chain of residual blocks": FIRST + BLOCK.format(k=1, x="x0") + "x1 = Add (x0, c1)  " + BLOCK.format(k=2, x="x1")
    + "x2 = Add (c2, x1)  " + BLOCK.format(k=3, x="x2") + "x3 = Add (x2, c3)  " + END.format(x="x3"),
    "sums that are scaled": FIRST + BLOCK.format(k=1, x="x0") + "a1 = Add (x0, c1)  x1 = Div (a1, root)  "
    + BLOCK.format(k=2, x="x1") + "a2 = Add (x1, c2)  x2 = Div (a2, root)  " + END.format(x="x2"),
    "a shortcut with weights and a pool": FIRST + BLOCK.format(k=1, x="x0")
    + "p1 = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x0)  t1 = Conv (p1, s1)  "
    + "r1 = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (c1)  x1 = Add (t1, r1)  " + END.format(x="x1"),
    "a shortcut that is enlarged": FIRST + BLOCK.format(k=1, x="x0") + "t1 = Conv (x0, s1)  "
    + "u1 = Resize (t1, , doubled)  r1 = Resize (c1, , doubled)  x1 = Add (r1, u1)  " + END.format(x="x1"),
    "a grouped shortcut": FIRST + BLOCK.format(k=1, x="x0") + "t1 = Conv <group = 2> (x0, grouped)  "
    + "x1 = Add (t1, c1)  " + END.format(x="x1"),
    "interleaved phases": PHASES + "k = Concat <axis = 1> (q00, q01, q10, q11)  d = DepthToSpace <blocksize = 2> (k)  "
    + END.format(x="d"),
}  # fmt: skip


@pytest.mark.parametrize("nodes", CENTRED.values(), ids=CENTRED)
def test_one_runs_means_centre_every_norm_and_the_numbers_stay(nodes):
    model, before = network(nodes), network(nodes)
    means = channel_means(model)
    outcome = centre_biases(model, means)
    assert (outcome.fired, outcome.declined) == (len(means), ())
    assert gap(model, before, images()) < 3e-6 * max(np.abs(mean).max() for mean in means.values())
    for name, left in channel_means(model).items():
        assert np.abs(left).max() < 1e-5 * max(1, np.abs(means[name]).max())
        np.testing.assert_allclose(outcome.shifts[name], -means[name], rtol=1e-6, atol=1e-6)


SEEN = FIRST + BLOCK.format(k=1, x="x0") + f"x1 = Add (x0, c1)  n2 = {NORM} (x1, scale, shift)  y = Add (n2, x1)"


def test_a_stream_that_the_output_sees_is_left_and_a_norm_behind_one_convolution_is_not():
    nodes = SEEN.replace("y = Add (n2, x1)", f"c2 = {CONV} (n2, w2)  n3 = {NORM} (c2, scale, shift)  y = Add (n3, x1)")
    model, before = network(nodes), network(nodes)
    means = channel_means(model)
    outcome = centre_biases(model, means)
    reason = "no convolution in front of it has a bias that only this norm sees first"
    assert (outcome.fired, outcome.declined) == (1, (f"n1: {reason}", f"n2: {reason}"))
    assert gap(model, before, images()) < 3e-6 * max(np.abs(mean).max() for mean in means.values())
    assert np.abs(channel_means(model)["n3"]).max() < 1e-5
    np.testing.assert_array_equal(outcome.shifts["n1"], np.zeros(4))


def test_only_norms_with_means_are_centred():
    model = network(CENTRED["a chain of residual blocks"])
    means = channel_means(model)
    assert centre_biases(model, {"n2": means["n2"]}).fired == 1
    left = channel_means(model)
    assert np.abs(left["n2"]).max() < 1e-4
    np.testing.assert_allclose(left["n1"], means["n1"], atol=1e-5)
