"""Norms as one node for a plugin: what it is given, and what its function says that it means."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from small_graphs import gap, graph, operators, run

from starcast.export.gate.candidates import open_session
from starcast.export.passes.adain_plugin import DOMAIN, OPERATOR, plug_norms, unplug_norms, with_function
from starcast.export.passes.forms import apply_form
from starcast.export.passes.half import to_half
from starcast.export.passes.instance_norms import instance_norms

DRAWS = np.random.RandomState(0)


def planes(images: int = 2, channels: int = 4) -> NDArray[np.float32]:
    """Shifted ones, as a norm's input may be."""
    return (3 + DRAWS.standard_normal((images, channels, 8, 6)) * 2).astype(np.float32)


def affine(behind: str = "y = LeakyRelu <alpha = 0.2> (n)") -> ir.Model:
    """A norm with weights of its own, as the encoder's."""
    return graph(
        f"n = InstanceNormalization <epsilon = 0.01> (x, s, b)  {behind}", "float[n, 4, h, w] x", "float[n, 4, h, w] y",
        s=np.array([1.0, 2, -1, 0.5]), b=np.array([0.0, 1, 2, 3]),
    )  # fmt: skip


def styled() -> ir.Model:
    """AdaIN with scale and shift [N, C, 1, 1] of a style."""
    return graph(
        """g = Unsqueeze (gamma, axes)  h = Unsqueeze (beta, axes)  n = InstanceNormalization (x, one, zero)
        m = Mul (n, g)  a = Add (m, h)  y = LeakyRelu <alpha = 0.2> (a)""",
        "float[n, 4, h, w] x, float[s, 4] gamma, float[s, 4] beta", "float[n, 4, h, w] y",
        one=np.ones(4), zero=np.zeros(4), axes=np.array([2, 3]),
    )  # fmt: skip


def in_float64(x, scale, shift, epsilon, slope):
    """The node as its docstring has it; scale and shift [N or 1, C] or [C]."""
    x, scale, shift = (np.asarray(array, np.float64) for array in (x, scale, shift))
    centred = x - x.mean(axis=(2, 3), keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=(2, 3), keepdims=True) + epsilon)
    y = normal * scale[..., None, None] + shift[..., None, None]
    return np.where(y < 0, slope * y, y)


def test_a_norm_with_weights_and_its_activation_are_one_node():
    model, x = affine(), planes()
    assert plug_norms(model) == 1
    [node] = model.graph
    assert (node.domain, node.op_type) == (DOMAIN, OPERATOR)
    assert node.attributes.get_float("epsilon") == pytest.approx(0.01)
    assert node.attributes.get_float("slope") == pytest.approx(0.2)
    assert node.attributes.get_string("plugin_namespace") == DOMAIN
    assert [value.name for value in node.outputs] == ["y"]
    expected = in_float64(x, [1.0, 2, -1, 0.5], [0.0, 1, 2, 3], 0.01, 0.2)
    np.testing.assert_allclose(run(with_function(model), x), expected, atol=1e-5)


def test_a_norm_without_an_activation_has_the_slope_1():
    model, x = affine("y = Relu (n)"), planes()
    assert plug_norms(model) == 1
    assert operators(model) == {OPERATOR: 1, "Relu": 1}
    expected = np.maximum(in_float64(x, [1.0, 2, -1, 0.5], [0.0, 1, 2, 3], 0.01, 1.0), 0)
    np.testing.assert_allclose(run(with_function(model), x), expected, atol=1e-5)


def test_an_activation_that_others_pass_by_stays():
    model = affine("r = LeakyRelu <alpha = 0.2> (n)  y = Add (r, n)")
    before = affine("r = LeakyRelu <alpha = 0.2> (n)  y = Add (r, n)")
    assert plug_norms(model) == 1
    assert operators(model) == {OPERATOR: 1, "LeakyRelu": 1, "Add": 1}
    assert gap(with_function(model), before, planes()) < 1e-5


@pytest.mark.parametrize("styles", [1, 3], ids=["one style for all", "a style each"])
def test_a_style_gives_scale_and_shift_as_rows(styles):
    model, x = styled(), planes(3)
    gamma, beta = (DRAWS.standard_normal((styles, 4)).astype(np.float32) for _ in range(2))
    assert plug_norms(model) == 1
    assert operators(model) == {"Unsqueeze": 2, "Squeeze": 2, OPERATOR: 1}
    expected = in_float64(x, gamma, beta, 1e-5, 0.2)
    np.testing.assert_allclose(run(with_function(model), x, gamma, beta), expected, atol=1e-5)


@pytest.mark.parametrize("behind", ["y = LeakyRelu <alpha = 0.2> (n)", "y = Relu (n)"])
def test_the_way_back_gives_a_norm_with_its_weights_and_its_activation(behind):
    model, x = affine(behind), planes()
    plug_norms(model)
    assert unplug_norms(model) == 1
    assert operators(model) == operators(affine(behind))
    assert gap(model, affine(behind), x) == 0
    assert unplug_norms(model) == 0


@pytest.mark.parametrize("styles", [1, 3], ids=["one style for all", "a style each"])
def test_the_way_back_gives_adain(styles):
    model, x = styled(), planes(3)
    gamma, beta = (DRAWS.standard_normal((styles, 4)).astype(np.float32) for _ in range(2))
    plug_norms(model)
    assert unplug_norms(model) == 1
    assert len(list(instance_norms(model.graph))) == 1
    assert len(next(instance_norms(model.graph)).nodes) == 3
    expected = in_float64(x, gamma, beta, 1e-5, 0.2)
    np.testing.assert_allclose(run(model, x, gamma, beta), expected, atol=1e-5)


def test_a_generator_comes_back_as_it_was(small, tmp_path):
    before = ir.load(small.generator)
    apply_form(before, "taps16")
    model = before.clone()
    norms = plug_norms(model)
    ir.save(model, tmp_path / "plugin.onnx")
    model = ir.load(tmp_path / "plugin.onnx")
    assert unplug_norms(model) == norms
    assert len(list(instance_norms(model.graph))) == norms
    feeds = {
        "image": np.random.default_rng(1).integers(0, 256, (2, 32, 64, 3), np.uint8),
        "style": DRAWS.standard_normal((2, small.config.style_dim)).astype(np.float32),
    }
    expected, got = (open_session(one.clone()).run(None, feeds)[0] for one in (before, model))
    np.testing.assert_array_equal(got, expected)


def test_the_function_is_not_in_the_graph_that_is_written(tmp_path):
    model = affine()
    plug_norms(model)
    with_function(model)
    assert not model.functions
    ir.save(model, tmp_path / "plugin.onnx")
    onnx.checker.check_model(str(tmp_path / "plugin.onnx"), full_check=True)


def test_planes_in_half_keep_scale_and_shift_in_float32(small):
    model = ir.load(small.generator)
    apply_form(model, "taps16")
    norms = operators(model)["InstanceNormalization"]
    to_half(model, ir.DataType.FLOAT16)
    assert plug_norms(model) == norms
    for node in model.graph:
        if node.op_type == OPERATOR:
            kinds = [value.dtype for value in (*node.inputs, *node.outputs) if value is not None]
            assert kinds == [ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.FLOAT, ir.DataType.FLOAT16]
            assert node.attributes.get_float("slope") == pytest.approx(0.2)
