"""Balanced channels: the same function, with input channels of more alike ranges."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import gap, graph, run

from starcast.export.gate.candidates import Trial, open_session
from starcast.export.precision.balanced_channels import balance_channels, scaled_convolutions
from starcast.export.precision.codes import Rules, make_recipe, quantisable_layers, quantise_layers

INPUTS, OUTPUTS = "float[N,3] style, float[N,4,5,6] x", "float[N,2,H,W] y"
PLAIN = """s = Gemm <transB = 1> (style, a, b)  q = Pow (s, two)  n = Gemm <transB = 1> (q, d, e)  r = Sqrt (n)
    v = Reciprocal (r)  u = Unsqueeze (s, axes)  t = Mul (x, u)  c = {conv} (t, w)  k = Unsqueeze (v, axes)
    y = Mul (c, k)"""
CONV, SPREAD = "Conv <pads = [1, 1, 1, 1]>", "ConvTranspose <strides = [2, 2]>"


def modulated(nodes: str = PLAIN, conv: str = CONV, seed: int = 0, loud: float = 50.0, **constants) -> ir.Model:
    """A convolution of four channels, the first of them loud, with scales of a style and the norm of its weights."""
    draws = np.random.RandomState(seed)
    weight = draws.randn(4, 2, 3, 3) if "Transpose" in conv else draws.randn(2, 4, 3, 3)
    a, b = draws.randn(4, 3), 1 + draws.randn(4)
    a[0], b[0] = a[0] * loud, b[0] * loud
    known = {"a": a, "b": b, "d": draws.rand(2, 4), "e": [0.5, 0.5], "two": 2.0, "gain": 1.5, "w": weight}
    return graph(nodes.format(conv=conv), INPUTS, OUTPUTS, axes=np.array([2, 3]), **(known | constants))


def trials(count: int = 6) -> list[Trial]:
    draws = np.random.RandomState(1)
    style, x = (draws.randn(count, *shape).astype(np.float32) for shape in ((3,), (4, 5, 6)))
    return [Trial(None, style[k : k + 1], {"x": x[k : k + 1]}) for k in range(count)]


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([CONV, SPREAD]), st.integers(0, 10**6), st.sampled_from([0.0, 1e-6, 1.0, 1e4]))
def test_the_function_stays_the_same(conv, seed, loud):
    before = modulated(conv=conv, seed=seed, loud=loud)
    after = before.clone()
    assert balance_channels(after, trials(), 64) == 1
    draws = np.random.RandomState(seed)
    inputs = [draws.randn(3, *shape).astype(np.float32) for shape in ((3,), (4, 5, 6))]
    assert gap(after, before, *inputs) < 2e-5


def feeds(trial: Trial) -> tuple[np.ndarray, ...]:
    return trial.styles, *trial.extra.values()


def loudness(model: ir.Model) -> np.ndarray:
    """The largest value of each channel of the convolution's input."""
    watched = model.clone()
    [place] = scaled_convolutions(watched.graph)
    place.scaled.type, place.scaled.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["N", 4, "H", "W"])
    watched.graph.outputs[:] = [place.scaled]
    session = open_session(watched)
    return np.max([np.abs(session.run(None, trial.feeds)[0]).max(axis=(0, 2, 3)) for trial in trials()], axis=0)


@pytest.mark.parametrize("conv", [CONV, SPREAD])
@pytest.mark.parametrize("largest", [64, 127])
def test_codes_lose_less_where_one_channel_is_loud(conv, largest):
    exact = modulated(conv=conv)
    balanced = exact.clone()
    balance_channels(balanced, trials(), largest)
    before, after = loudness(exact), loudness(balanced)
    assert after.max() / after.min() < before.max() / before.min() / 2
    rules = Rules(largest=largest)
    lost = []
    for model in (exact, balanced):
        layers = quantisable_layers(model, {"N": 1, "H": 5, "W": 6} if conv == CONV else {"N": 1, "H": 11, "W": 13})
        coded = quantise_layers(model, layers, make_recipe(model, layers, trials(), rules))
        lost.append(np.mean([(run(coded, *feeds(one)) - run(exact, *feeds(one))) ** 2 for one in trials()]))
    assert lost[1] < lost[0] / 2


@pytest.mark.parametrize("conv", [CONV, SPREAD])
def test_channels_that_are_alike_stay_as_they_are(conv):
    alike = {"a": np.zeros((4, 3)), "b": np.ones(4), "w": np.ones((4, 2, 3, 3) if conv == SPREAD else (2, 4, 3, 3))}
    before = modulated(conv=conv, **alike)
    after = before.clone()
    balance_channels(after, [Trial(None, np.ones((1, 3), np.float32), {"x": np.ones((1, 4, 5, 6), np.float32)})], 64)
    np.testing.assert_allclose(loudness(after), loudness(before), rtol=1e-6)


@pytest.mark.parametrize("nodes", [
    PLAIN.replace("t = Mul (x, u)", "g = Mul (u, gain)  t = Mul (g, x)"),
    PLAIN.replace("q = Pow (s, two)", "q = Mul (s, s)"),
    PLAIN.partition("q = ")[0] + "u = Unsqueeze (s, axes)  t = Mul (x, u)  y = {conv} (t, w)",
], ids=["a gain", "a square as a product", "no norm"])  # fmt: skip
def test_other_ways_to_write_it_are_balanced_too(nodes):
    before = modulated(nodes)
    after = before.clone()
    assert balance_channels(after, trials(), 64) == 1
    assert gap(after, before, np.ones((2, 3), np.float32), np.ones((2, 4, 5, 6), np.float32)) < 2e-5


@pytest.mark.parametrize("nodes", [
    PLAIN.replace("k = Unsqueeze (v, axes)", "l = Abs (s)  m = ReduceMax (l)  z = Add (v, m)  k = Unsqueeze (z, axes)"),
    PLAIN.replace("q = Pow (s, two)", "q = Pow (s, gain)"),
    PLAIN.replace("v = Reciprocal (r)", "o = ReduceMax (q)  z = Add (r, o)  v = Reciprocal (z)"),
    PLAIN.replace("k = Uns", "m = ReduceMax <keepdims = 0> (t)  z = Add (v, m)  k = Uns").replace("v, ax", "z, ax"),
    PLAIN.replace("c = {conv} (t, w)", "z = Add (t, x)  c = {conv} (z, w)"),
], ids=["scales read again", "another power", "squares read again", "the input read again", "a sum"])  # fmt: skip
def test_what_would_change_the_function_is_left_alone(nodes):
    model = modulated(nodes)
    kept = model.clone()
    assert balance_channels(model, trials(), 64) == 0
    assert gap(model, kept, np.ones((2, 3), np.float32), np.ones((2, 4, 5, 6), np.float32)) == 0
