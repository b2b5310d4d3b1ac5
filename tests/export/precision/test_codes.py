"""Graphs in integers: the arithmetic of the codes, what stays in float32, and what engines make of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from small_graphs import graph, operators

from starcast.export.gate.candidates import Trial, before_rounding, open_session
from starcast.export.gate.quality import measure_on_engines, translate_in_float32
from starcast.export.passes.grouped_boxes import group_boxes
from starcast.export.passes.style_split import split_off_style
from starcast.export.precision.codes import (
    LARGEST,
    Layer,
    Rules,
    drop_output_codes,
    encode_weight,
    layers_for_codes,
    make_recipe,
    quantisable_layers,
    quantise_layers,
    tensorrt_rules,
)
from starcast.runtime.engines.base import Graph
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.openvino import OpenVINO

INT8_RULES, FP8_RULES = (tensorrt_rules(precision) for precision in ("int8", "fp8"))
ENGINES = [OnnxRuntime(), OpenVINO()]


@pytest.fixture(scope="module")
def in_integers(rewritten, drawn, one_image):
    """A function (form, outputs=()) -> (float32 graph, layers, the graph with all of them in integers)."""

    def make(form: str, *, outputs: tuple[str, ...] = ()):
        model = rewritten(form)
        layers = quantisable_layers(model, one_image)
        recipe = make_recipe(model, layers, drawn.ranges, Rules(outputs=outputs))
        return model, layers, quantise_layers(model, layers, recipe)

    return make


def one_convolution(node: str, weight, **constants):
    """A frame graph that is one convolution of the image."""
    model = graph(
        f"x = Cast <to = 1> (image)  p = Transpose <perm = [0, 3, 1, 2]> (x)  c = {node}  y = Identity (c)",
        "uint8[batch, height, width, 3] image", "float[batch, c, h, w] y", w=weight, **constants,
    )  # fmt: skip
    unread = ir.Value(name="style", shape=ir.Shape([1, 1]), type=ir.TensorType(ir.DataType.FLOAT))
    model.graph.inputs.append(unread)
    return model


@pytest.mark.parametrize("outputs", [(), ("Conv", "ConvTranspose")])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_a_convolution_is_the_sum_of_products_of_codes(kind, outputs):
    draws = np.random.RandomState(0)
    weight, bias = draws.standard_normal((3, 4, 3, 3) if kind == "ConvTranspose" else (4, 3, 3, 3)), np.arange(4.0)
    model = one_convolution(f"{kind} <strides = [2, 2]> (p, w, b)", weight, b=bias)
    image = draws.randint(0, 256, (1, 9, 9, 3)).astype(np.uint8)
    trials = [Trial(image, np.zeros((1, 1), np.float32))]
    layer = Layer("c", ("c",), 1)
    recipe = make_recipe(model, [layer], trials, Rules(outputs=outputs))
    made = quantise_layers(model, [layer], recipe)

    grid, codes = recipe.inputs["p"], recipe.weights["c"]
    x = torch.from_numpy(grid.round(image.transpose(0, 3, 1, 2).astype(np.float64)))
    shape = [-1 if dim == codes.axis else 1 for dim in range(4)]
    w = torch.from_numpy(codes.codes.astype(np.float64) * codes.scales.astype(np.float64).reshape(shape))
    convolve = torch.nn.functional.conv_transpose2d if kind == "ConvTranspose" else torch.nn.functional.conv2d
    expected = convolve(x, w, torch.from_numpy(bias), stride=2).numpy()
    slack = float(codes.scales.max()) * grid.scale / 2  # of the bias, which is rounded as well
    if outputs:
        expected = recipe.outputs["c"].round(expected)
        slack += recipe.outputs["c"].scale
    [got] = open_session(made).run(None, trials[0].feeds)
    assert np.abs(got - expected).max() <= slack + 1e-3


def test_codes_of_weights_cannot_saturate_16_bits_in_pairs():
    codes = encode_weight(np.random.RandomState(1).standard_normal((8, 4, 3, 3)).astype(np.float32), axis=0).codes
    assert np.abs(codes.astype(int)).max() <= LARGEST
    assert 2 * 255 * LARGEST < 2**15


@pytest.mark.parametrize("axis", [0, 1])
def test_each_channel_of_a_weight_loses_at_most_what_its_largest_number_says(axis):
    draws = np.random.RandomState(2)
    sizes = np.array([1e-3, 1, 0, 50]).reshape((4, 1, 1, 1) if axis == 0 else (1, 4, 1, 1))
    weight = (draws.standard_normal((4, 4, 3, 3)) * sizes).astype(np.float32)
    made = encode_weight(weight, axis)
    again = made.codes * np.moveaxis(made.scales.reshape(4, 1, 1, 1), 0, axis)
    for channel in range(4):
        before, after = np.take(weight, channel, axis), np.take(again, channel, axis)
        whole_range = np.abs(before).max() / LARGEST
        assert np.mean((before - after) ** 2) <= whole_range**2 / 12 * 1.5


@pytest.mark.parametrize("rules", [INT8_RULES, FP8_RULES], ids=["int8", "fp8"])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_tensorrts_codes_have_their_zero_at_0_and_scales_that_half_has(kind, rules):
    draws = np.random.RandomState(3)
    weight, bias = draws.standard_normal((3, 4, 3, 3) if kind == "ConvTranspose" else (4, 3, 3, 3)), np.arange(4.0)
    model = one_convolution(f"{kind} (p, w, b)", weight, b=bias)
    trials = [Trial(draws.randint(0, 256, (1, 9, 9, 3)).astype(np.uint8), np.zeros((1, 1), np.float32))]
    layer = Layer("c", ("c",), 1)
    recipe = make_recipe(model, [layer], trials, rules)
    grid, codes = recipe.inputs["p"], recipe.weights["c"]
    assert grid.zero == 0
    for scales in (np.float32([grid.scale]), codes.scales):
        np.testing.assert_array_equal(scales.astype(np.float16).astype(np.float32), scales)
    assert codes.scales.shape == ((4,) if rules is INT8_RULES else ())  # a channel, or the tensor
    assert np.abs(codes.codes.astype(np.float64)).max() == (127 if rules is INT8_RULES else 448)
    made = quantise_layers(model, [layer], recipe)
    [node] = [node for node in made.graph if node.op_type == kind]
    np.testing.assert_array_equal(node.inputs[2].const_value.numpy(), bias)  # a bias stays numbers
    assert made.graph.opset_imports[""] == 19
    assert model.graph.opset_imports[""] == 18


@pytest.mark.parametrize("rules", [INT8_RULES, FP8_RULES], ids=["int8", "fp8"])
def test_tensorrts_convolution_is_that_of_the_numbers_that_its_codes_stand_for(rules):
    draws = np.random.RandomState(4)
    weight, image = draws.standard_normal((4, 3, 3, 3)), draws.randint(0, 256, (1, 9, 9, 3)).astype(np.uint8)
    model = one_convolution("Conv (p, w)", weight)
    trials = [Trial(image, np.zeros((1, 1), np.float32))]
    layer = Layer("c", ("c",), 1)
    recipe = make_recipe(model, [layer], trials, rules)
    x = torch.from_numpy(recipe.inputs["p"].round(image.transpose(0, 3, 1, 2).astype(np.float64)))
    codes = recipe.weights["c"]
    scales = codes.scales.astype(np.float64).reshape(-1, 1, 1, 1)
    w = torch.from_numpy(codes.codes.astype(np.float64) * scales)
    [got] = open_session(quantise_layers(model, [layer], recipe)).run(None, trials[0].feeds)
    np.testing.assert_allclose(got, torch.nn.functional.conv2d(x, w).numpy(), rtol=1e-5, atol=1e-3)


def test_tensorrt_takes_no_transposed_convolutions_and_none_of_the_images_own_channels(rewritten, one_image):
    model = rewritten("taps16")
    layers = quantisable_layers(model, one_image)
    assert layers_for_codes(model, layers, Rules()) == layers
    left = {layer.name for layer in layers} - {layer.name for layer in layers_for_codes(model, layers, INT8_RULES)}
    assert left == {"from_rgb.bytes", "decode.2.conv1.enlarged", "to_rgb.2.bytes"}


@pytest.mark.parametrize("form", ["taps9", "taps16", "phases"])
def test_only_convolutions_read_codes(in_integers, form):
    _, _, made = in_integers(form)
    reading = {
        node.op_type
        for node in made.graph
        for value in node.inputs
        if value is not None and (maker := value.producer()) is not None and maker.op_type == "DequantizeLinear"
    }
    assert reading <= {"Conv", "ConvTranspose"}


def test_four_phases_are_one_layer_and_read_the_same_codes(in_integers):
    model, layers, made = in_integers("phases")
    phases = [layer for layer in layers if len(layer.nodes) == 4]
    assert phases
    assert all(name.rpartition(".")[0] == layer.name for layer in phases for name in layer.nodes)
    readers = Counter(node.inputs[0] for node in made.graph if node.name in phases[0].nodes)
    assert list(readers.values()) == [4]
    assert operators(made)["Conv"] == operators(model)["Conv"]


def test_the_graph_that_is_given_stays_as_it_was(rewritten, in_integers):
    model, _, made = in_integers("taps9")
    assert operators(model) == operators(rewritten("taps9"))
    assert operators(made)["QuantizeLinear"] > 0


@pytest.mark.parametrize(("form", "outputs", "grouped"), [
    ("taps9", (), False), ("taps16", (), False), ("phases", ("Conv",), False),
    ("taps9", ("ConvTranspose",), True),  # OpenVINO's pools would round the mean of codes to codes again
])  # fmt: skip
def test_engines_are_equally_near_to_float32(in_integers, drawn, tmp_path, form, outputs, grouped):
    # Not equal to each other: a sum that lies between two codes goes to either, with the order of its additions.
    model, _, made = in_integers(form, outputs=outputs)
    if grouped:
        assert group_boxes(made).fired > 0
    ir.save(made, tmp_path / "int8.onnx")
    expected = translate_in_float32(model, drawn.gate)
    graph = Graph(tmp_path / "int8.onnx", precision="int8")
    one, other = (measure_on_engines([engine], graph, drawn.gate, expected) for engine in ENGINES)
    for domain, ours in one.domains.items():
        assert ours.psnr_mean == pytest.approx(other.domains[domain].psnr_mean, abs=0.7)


def test_without_codes_of_outputs_a_graph_is_what_it_is_without_asking_for_them(rewritten, drawn, one_image):
    model = rewritten("taps9")
    layers = quantisable_layers(model, one_image)
    recipe = make_recipe(model, layers, drawn.ranges, Rules(outputs=("ConvTranspose",)))
    plain, rounded = quantise_layers(model, layers, replace(recipe, outputs={})), quantise_layers(model, layers, recipe)
    assert operators(rounded) != operators(plain)
    assert drop_output_codes(rounded, ("ConvTranspose",)) == operators(plain)["ConvTranspose"]
    assert operators(rounded) == operators(plain)
    trial = drawn.gate[next(iter(drawn.gate))][0]
    one, other = (open_session(made).run(None, trial.feeds)[0] for made in (rounded, plain))
    assert np.array_equal(one, other)


def test_codes_of_outputs_that_are_not_there_are_not_dropped(in_integers):
    _, _, made = in_integers("taps9", outputs=("ConvTranspose",))
    before = operators(made)
    assert drop_output_codes(made, ("Conv",)) == 0
    assert operators(made) == before


def test_onnx_runtime_has_integer_kernels_for_every_layer_whose_outputs_are_codes(in_integers, tmp_path):
    _, layers, made = in_integers("phases", outputs=("Conv",))
    ir.save(made, tmp_path / "int8.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"), options, providers=["CPUExecutionProvider"])
    kernels = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kernels["QLinearConv"] == sum(len(layer.nodes) for layer in layers)
    assert kernels["Conv"] == 0


@pytest.mark.parametrize("form", ["taps9", "phases"])
def test_openvino_has_integer_kernels_for_every_convolution(in_integers, tmp_path, form):
    openvino = pytest.importorskip("openvino")
    _, _, made = in_integers(form)
    ir.save(made, tmp_path / "int8.onnx")
    compiled = openvino.Core().compile_model(str(tmp_path / "int8.onnx"), "CPU")
    kinds = Counter(
        (info["layerType"].astype(str), info["runtimePrecision"].astype(str))
        for node in compiled.get_runtime_model().get_ops()
        for info in [node.get_rt_info()]
    )
    assert kinds["Convolution", "f32"] == 0
    assert sum(count for (kind, _), count in kinds.items() if kind == "Convolution") == operators(made)["Conv"]


def test_the_style_can_still_be_split_off(in_integers, drawn):
    _, _, made = in_integers("taps9")
    expected = open_session(before_rounding(made.clone())).run(None, drawn.search[0].feeds)[0]
    product = split_off_style(made)
    assert product is not None
    [scales] = open_session(product).run(None, {"style": drawn.search[0].styles})
    feeds = {"image": drawn.search[0].sources, "gamma_beta": scales}
    np.testing.assert_allclose(open_session(before_rounding(made)).run(None, feeds)[0], expected, atol=2.0)
