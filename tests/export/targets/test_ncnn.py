"""What ncnn gives for a graph that was written for it, against ONNX Runtime and PyTorch."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest
from ncnn_frames import frame, images, ncnn_session, scales_and_shifts
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.export.families.stargan_v1 import StarGANv1
from starcast.export.gate.candidates import Trial, before_rounding, difference, open_session, translate_with_torch
from starcast.export.gate.parity import make_trials
from starcast.export.gate.reference import from_levels
from starcast.export.passes.forms import apply_form
from starcast.export.passes.style_products import join_style_products
from starcast.export.passes.style_split import split_off_style
from starcast.export.passes.wide_norms import split_wide_norms
from starcast.export.plan import PREFERRED, FrameGraph
from starcast.export.targets.ncnn import ncnn_model
from starcast.export.targets.onnx import make_float32
from starcast.export.trace import trace_frame
from starcast.train.families.stargan_v1.networks import StarGANv1Config, random_networks

DRAWS = np.random.RandomState(0)
CONSTANTS = {
    "w": DRAWS.standard_normal((5, 3, 3, 3)), "point": DRAWS.standard_normal((7, 3, 1, 1)),
    "eight": np.random.RandomState(8).standard_normal((8, 3, 1, 1)), "kernel": np.array([2, 3, 1, 1]),
    "each": DRAWS.standard_normal((3, 1, 3, 3)),
    "spread3": DRAWS.standard_normal((3, 5, 3, 3)), "spread4": DRAWS.standard_normal((3, 5, 4, 4)),
    "b": DRAWS.standard_normal(5), "scale": DRAWS.standard_normal(3), "shift": DRAWS.standard_normal(3),
    "ones": np.ones(3), "zeros": np.zeros(3), "column": DRAWS.standard_normal((3, 1, 1)), "half": np.array(0.5),
    "shape": np.array([-1, 6, 1, 1]), "threes": np.array([3, 3]), "rows_and_columns": np.array([2, 3]),
    "twice": np.array([1.0, 1.0, 2.0, 2.0]), "grey": np.array(127.5), "none": np.array(0.0),
    "wide": DRAWS.standard_normal((4, 6, 7, 7)), "nine": DRAWS.standard_normal((4, 9, 3, 3)),
    "at0": np.array([0]), "at1": np.array([1]), "at2": np.array([2]), "at3": np.array([3]),
    "end": np.array([2**63 - 1]), "most": np.array([2**31 - 1]), "few": np.array([-1]),
    "corner": np.array([1, 2]), "far_corner": np.array([5, 2**31 - 1]), "last3": np.array([-3]),
    "all_but_one": np.array([-1]), "across": DRAWS.standard_normal((3, 1, 1, 4)),
    "down": DRAWS.standard_normal((3, 1, 4, 1)), "ones_each": np.ones((3, 1, 1, 1)), "pairs": np.ones((4, 2, 1, 1)),
    "around": np.array([0, 0, 1, 2, 0, 0, 0, 3]), "more_channels": np.array([0, 1, 0, 0, 0, 0, 0, 0]),
    "maps": np.array([-1, 3, 1, 2]), "tall": np.array([1.0, 1.0, 3.0, 2.0]), "far": np.array([-300]),
    "four": np.array([4]),
}  # fmt: skip
STYLE = "g = Reshape (gamma_beta, shape)  gamma, beta = Split <axis = 1, num_outputs = 2> (g)  "
NEAREST = 'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'

OPERATORS = {
    "3x3": "y = Conv <pads = [1, 1, 1, 1]> (x, w, b)",
    "3x3 without a bias": "y = Conv <pads = [1, 1, 1, 1]> (x, w)",
    "3x3 with uneven borders": "y = Conv <pads = [1, 0, 2, 3]> (x, w, b)",
    "3x3 with stride 2": "y = Conv <strides = [2, 2]> (x, w, b)",
    "1x1": "y = Conv (x, point)",
    "transposed 3x3": "y = ConvTranspose <strides = [2, 2]> (x, spread3)",
    "transposed 3x3 with a bias": "y = ConvTranspose <strides = [2, 2]> (x, spread3, b)",
    "transposed 4x4": "y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, spread4)",
    "mean of 2x2 with stride 2": "y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)",
    "mean of 2x2": "y = AveragePool <kernel_shape = [2, 2]> (x)",
    "mean of 2x2 with counted zeros":
        "y = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1> (x)",
    "norm": "y = InstanceNormalization <epsilon = 0.5> (x, scale, shift)",
    "neutral norm": "y = InstanceNormalization (x, ones, zeros)",
    "norm with a style": STYLE + "n = InstanceNormalization (x, ones, zeros)  m = Mul (n, gamma)  y = Add (m, beta)",
    "style on the left": STYLE + "n = InstanceNormalization (x, ones, zeros)  m = Mul (gamma, n)  y = Add (beta, m)",
    "one plus a style": STYLE + "h = Add (gamma, half)  y = Mul (x, h)",
    "leaky": "k = Sub (x, grey)  y = LeakyRelu <alpha = 0.2> (k)",
    "sum of two readers of one map": "a = Conv (x, point)  d = Mul (a, a)  y = Add (a, d)",
    "enlarged": f"y = {NEAREST} (x, , twice)",
    "with a number": "a = Div (x, grey)  c = Sub (a, half)  d = Mul (half, c)  y = Add (d, grey)",
    "with a number a channel": "a = Mul (x, column)  y = Add (column, a)",
    "rectified": "k = Sub (x, grey)  y = Relu (k)",
    "squashed": "k = Sub (x, grey)  d = Div (k, grey)  y = Tanh (d)",
    "some channels": "y = Slice (x, at1, at3, at1, at1)",
    "the last channels": "y = Slice (x, at1, end, at1)",
    "the last channels, by 32 bits": "y = Slice (x, at2, most, at1)",
    "rows and columns": "y = Slice (x, corner, far_corner, rows_and_columns)",
    "part of a style": "p = Slice (gamma_beta, at1, end, at1)  q = Slice (p, at0, at3, at1)  "
        "c = Unsqueeze (q, rows_and_columns)  y = Mul (x, c)",
    "joined channels": "a = Conv (x, point)  b2 = Relu (x)  y = Concat <axis = 1> (b2, a, x)",
    "planes of a style": "c = Unsqueeze (gamma_beta, rows_and_columns)  p = Slice (x, at0, at1, at1)  "
        "m = Mul (p, none)  a = Add (c, m)  k = Div (x, grey)  j = Concat <axis = 1> (k, a)  "
        "y = Conv <pads = [1, 1, 1, 1]> (j, nine)",
    "a style minus a plane": "c = Unsqueeze (gamma_beta, rows_and_columns)  p = Slice (x, at0, at1, at1)  "
        "a = Sub (c, p)  d = Div (a, grey)  y = Conv <pads = [3, 3, 3, 3]> (d, wide)",
    "squares as channels": "y = SpaceToDepth <blocksize = 2> (x)",
    "channels as squares": "a = Conv (x, eight)  y = DepthToSpace <blocksize = 2> (a)",
    "channels as squares, one after another": 'a = Conv (x, eight)  y = DepthToSpace <blocksize = 2, mode = "CRD"> (a)',
    "a filter a channel, across and down": "a = Conv <group = 3, pads = [0, 1, 0, 2]> (x, across)  "
        "y = Conv <group = 3, pads = [2, 0, 1, 0]> (a, down)",
    "a filter a channel with a bias": "y = Conv <group = 3, pads = [1, 1, 1, 1]> (x, each, scale)",
    "a filter a channel with stride 2": "y = Conv <group = 3, strides = [2, 2]> (x, each)",
    "zeros after every pixel":
        "y = ConvTranspose <group = 3, strides = [2, 2], output_padding = [1, 1]> (x, ones_each)",
    "transposed, a filter a channel": "y = ConvTranspose <group = 3, strides = [2, 2]> (x, each, shift)",
    "transposed 3x3 with more rows":
        "y = ConvTranspose <strides = [2, 2], pads = [2, 2, 2, 2], output_padding = [1, 0]> (x, spread3)",
    "zeros around": "y = Pad (x, around)",
    "zeros around, said twice": "y = Pad <mode = \"constant\"> (x, around, none)",
    "the last pixel repeated": 'y = Pad <mode = "edge"> (x, around)',
    "interpolated": 'y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , twice)',
    "the last rows": "y = Slice (x, last3, end, at2)",
    "all columns but the last": "y = Slice (x, at0, all_but_one, at3)",
    "joined rows": "a = Relu (x)  y = Concat <axis = 2> (a, x, a)",
    "joined columns": "a = Slice (x, at0, at1, at3)  y = Concat <axis = 3> (x, a)",
    "maps from a vector": "m = Reshape (gamma_beta, maps)  "
        "q = Slice (x, at0, at1, at2)  r = Slice (q, at0, at2, at3)  y = Mul (m, r)",
    "a plane for all channels": "p = Slice (x, at0, at1, at1)  a = Mul (half, p)  y = Add (x, a)",
    "a plane on the left, times a column": STYLE + "p = Slice (x, at1, at2, at1)  a = Mul (p, gamma)  y = Add (a, x)",
    "spread around the mean":
        "m = ReduceMean (x, rows_and_columns)  d = Sub (x, m)  q = Mul (d, d)  v = ReduceMean (q, rows_and_columns)  "
        "s = Add (v, half)  r = Sqrt (s)  y = Div (d, r)",
}  # fmt: skip


@pytest.mark.parametrize("engine", ["ncnn", "ncnn-vulkan"])
@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_gives_onnxruntimes_numbers(name, engine, tmp_path):
    model = frame(OPERATORS[name], **CONSTANTS)
    feeds = {"image": images(2, 8, 12), "gamma_beta": scales_and_shifts(2)}
    got = ncnn_session(model, tmp_path, engine).unrounded(feeds)
    [expected] = open_session(before_rounding(model)).run(None, feeds)
    assert got.shape == expected.shape
    assert difference(got, expected) < 1e-4  # sums of levels up to 255 that cancel out


COMPUTED = "v = Reshape (gamma_beta, kernel)  y = Conv <strides = [2, 1], pads = [1, 2, 0, 1]> (x, v)"


@pytest.mark.parametrize("engine", ["ncnn", "ncnn-vulkan"])
def test_a_convolution_may_get_its_weight_from_the_style(engine, tmp_path):
    model = frame(COMPUTED, **CONSTANTS)
    session = ncnn_session(model, tmp_path, engine)
    plain = open_session(before_rounding(model))
    for style in scales_and_shifts(2)[:, None]:
        feeds = {"image": images(2, 8, 12), "gamma_beta": style}
        [expected] = plain.run(None, feeds)
        got = session.unrounded(feeds)
        assert got.shape == expected.shape
        assert difference(got, expected) < 1e-5


@pytest.mark.parametrize(("nodes", "reason"), [
    (COMPUTED.replace("(x, v)", "(x, v, b)"), "(its weight is computed, and it has a bias or groups, or uses auto_pad"),
    (COMPUTED.replace("strides", "group = 3, strides"), "(its weight is computed, and it has a bias or groups"),
    (COMPUTED + "  u = Relu (v)", "y (Conv) cannot be written for ncnn (its input 1 is not constant)"),
    ("y = Softmax (x)", "the node y (Softmax) cannot be written for ncnn (its graphs have no Softmax)"),
    ('y = Conv <auto_pad = "SAME_UPPER"> (x, w)', "y (Conv) cannot be written for ncnn (it uses auto_pad"),
    ("a = Concat <axis = 1> (x, x)  c = Slice (a, at0, four, at1)  y = Conv <group = 2> (c, pairs)",
     "y (Conv) cannot be written for ncnn (it is grouped, and not by single channels)"),
    ("y = Conv (x, x)", "y (Conv) cannot be written for ncnn (its input 1 is not constant)"),
    ("y = ConvTranspose <output_shape = [17, 25], strides = [2, 2]> (x, spread3)", "(its output size is given)"),
    ('y = Pad <mode = "reflect"> (x, around)', "y (Pad) cannot be written for ncnn (its border is neither zeros nor"),
    ("y = Pad (x, around, half)", "y (Pad) cannot be written for ncnn (its border is neither zeros nor"),
    ("y = Pad (x, more_channels)", "y (Pad) cannot be written for ncnn (it changes the channels, or cuts the map)"),
    ('y = Resize <mode = "cubic"> (x, , twice)', "(its upsampling is not bilinear with a constant factor of 2)"),
    ('y = Resize <mode = "linear"> (x, , tall)', "(its upsampling is not bilinear with a constant factor of 2)"),
    ("y = Slice (x, far, end, at2)", "y (Slice) cannot be written for ncnn (its range is counted from too far behind"),
    ("y = AveragePool <kernel_shape = [2, 2], ceil_mode = 1> (x)", "y (AveragePool) cannot be written for ncnn"),
    ("m = ReduceMean (x, threes)  y = Sub (x, m)",
     "m (ReduceMean) cannot be written for ncnn (it is not the mean of a"),
    ("y = Sub (grey, x)", "y (Sub) cannot be written for ncnn (its first operand is a constant)"),
    ("y = Mul (x, w)", "y (Mul) cannot be written for ncnn (a constant of shape [5, 3, 3, 3]"),
    (NEAREST.replace("floor", "ceil").join(["y = ", " (x, , twice)"]), "(the resize samples its pixels differently"),
    ("y, z = Split <axis = 2, num_outputs = 2> (x)",
     "y (Split) cannot be written for ncnn (it does not split channels)"),
    ("y = Slice (x, at1, at3, few)", "y (Slice) cannot be written for ncnn (it cuts the batch, or counts its axes"),
    ("y = Slice (x, at0, at1)", "y (Slice) cannot be written for ncnn (it cuts the batch"),
    ("y = Slice (x, at0, end, at2, at2)", "y (Slice) cannot be written for ncnn (it leaves gaps)"),
    ("y = Concat <axis = 0> (x, x)", "y (Concat) cannot be written for ncnn (it joins along the batch"),
    ("y = Reshape (x, threes)", "y (Reshape) cannot be written for ncnn (it does not make maps of a fixed size)"),
    (STYLE + "c = Squeeze (gamma)  y = InstanceNormalization (x, c, shift)", "c (Squeeze) cannot be written"),
])  # fmt: skip
def test_what_ncnn_has_no_layer_for_is_named(nodes, reason):
    with pytest.raises(EngineError, match=re.escape(reason)) as caught:
        ncnn_model(frame(nodes, **CONSTANTS))
    assert str(caught.value).endswith("leave ncnn out of --for")


def cut(model: ir.Model, form: str) -> ir.Model:
    """The form of a generator that takes scales and shifts, in place; gives the graph that makes them."""
    apply_form(model, form)
    if form == "plain":
        join_style_products(model)
    product = split_off_style(model)
    assert product is not None
    return product


@pytest.mark.parametrize(("form", "engine"), [
    ("plain", "ncnn"), ("taps9", "ncnn"), ("taps16", "ncnn"), ("taps9", "ncnn-vulkan"),
])  # fmt: skip
def test_a_whole_generator_gives_pytorchs_numbers_for_every_style_and_size(small, form, engine, tmp_path):
    model = ir.load(small.generator)
    product = open_session(cut(model, form))
    session = ncnn_session(model, tmp_path, engine)
    for trial in make_trials(small.model):
        [gamma_beta] = product.run(None, {"style": trial.styles})
        feeds = {"image": trial.sources, "gamma_beta": gamma_beta}
        levels = session.unrounded(feeds)
        expected = translate_with_torch(small.networks.generator, trial)
        assert difference((levels.astype(np.float64) - 127.5) / 127.5, expected) < 1e-4
        rounded = np.clip(np.rint(levels), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(session.run(feeds), rounded)


@pytest.mark.parametrize(("attributes", "classes", "width", "blocks"), [(1, 0, 8, 2), (15, 5, 12, 1)])
def test_a_whole_generator_with_labels_gives_pytorchs_numbers_for_every_label_and_size(
    attributes, classes, width, blocks, tmp_path
):
    config = StarGANv1Config(
        image_size=32, generator_width=width, discriminator_layers=5, residual_blocks=blocks, attributes=attributes,
        classes=classes,
    )  # fmt: skip
    networks = random_networks(config)
    model = StarGANv1(networks, config, tuple(map(str, range(config.domains))))
    made = make_float32(trace_frame(model), PREFERRED["ncnn"], 32)
    fired = {step.rewrite.name: step.outcome.fired for step in made.steps}
    assert (fired["constant-planes"], fired["gathered-3x3"], fired["spread-3x3"]) == (1, 2, 2)
    session = ncnn_session(made.frame, tmp_path)
    for trial in [*make_trials(model), Trial(images(1, 4, 8), model.gate_styles(1))]:
        feeds = {"image": trial.sources, **condition_of(made, trial)}
        got = from_levels(session.unrounded(feeds).astype(np.float64))
        assert difference(got, translate_with_torch(networks.generator, trial)) < 1e-4


def condition_of(made: FrameGraph, trial: Trial) -> dict[str, NDArray[np.float32]]:
    if made.product is None:
        return {"style": trial.styles}
    return {"gamma_beta": open_session(made.product).run(None, {"style": trial.styles})[0]}


def test_writing_leaves_the_graph_as_it_is(small):
    model = ir.load(small.generator)
    cut(model, "taps9")
    before = ir.to_proto(model).SerializeToString()
    assert ncnn_model(model) == ncnn_model(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_the_text_counts_its_layers_and_blobs(small):
    model = ir.load(small.generator)
    cut(model, "taps9")
    magic, counts, *layers = ncnn_model(model).param.splitlines()
    blobs = [name for line in layers for name in line.split()[4 + int(line.split()[2]) :][: int(line.split()[3])]]
    assert magic == "7767517"
    assert counts == f"{len(layers)} {len(blobs)}"
    assert len(set(blobs)) == len(blobs)
    assert layers[:2] == ["Input image 0 1 image", "Input gamma_beta 0 1 gamma_beta 0=176"]  # all norms' 2 C


def test_norms_of_wide_maps_by_tiles_keep_the_digits_of_a_drawing(tmp_path):
    side = 512
    drawing = np.full((1, side, side, 3), 231, np.uint8)
    drawing[:, : side // 4, : side // 4] = 3
    model = frame("y = InstanceNormalization <epsilon = 0.00001> (x, ones, zeros)", **CONSTANTS)
    model.graph.outputs[0].shape = model.graph.inputs[0].shape
    assert split_wide_norms(model, side) == 1
    got = ncnn_session(model, tmp_path).unrounded({"image": drawing, "gamma_beta": scales_and_shifts(1)})
    wide = drawing.astype(np.float64).transpose(0, 3, 1, 2)
    expected = (wide - wide.mean((2, 3), keepdims=True)) / np.sqrt(wide.var((2, 3), keepdims=True) + 1e-5)
    assert difference(got, expected) < 1e-5
