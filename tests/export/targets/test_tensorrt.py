"""Graphs for TensorRT in every precision: the same function, with every type given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from ncnn_frames import frame
from small_graphs import operators
from torch import nn
from torch.nn import functional as F

from starcast.export.families.model import StyleGraph
from starcast.export.gate.candidates import OnnxCandidate, Trial, open_session, translate_with_torch
from starcast.export.gate.images import draw_images
from starcast.export.gate.parity import flat_trials, make_trials
from starcast.export.gate.quality import Gate
from starcast.export.gate.reference import from_bytes
from starcast.export.plan import PREFERRED, FrameGraph, form_for
from starcast.export.precision.codes import tensorrt_rules
from starcast.export.precision.samples import CalibrationSet, drawn_set
from starcast.export.precision.search import SearchOptions, quantise
from starcast.export.targets.tensorrt import make_base, make_in_precision, with_decomposed_norms, without_products
from starcast.export.trace import trace_style_graph

SIDE = 32
RULES = {name: tensorrt_rules(name) for name in ("int8", "fp8")}
PLAN = PREFERRED["tensorrt"]


@pytest.fixture(scope="module")
def calibration(small) -> CalibrationSet:
    """Drawn images; those of the ranges serve a search, too."""
    drawn = drawn_set(small.model)
    return replace(drawn, search=drawn.ranges[:3])


@pytest.fixture(scope="module")
def bases(small, calibration) -> dict[str, FrameGraph]:
    """The small generator's, by form."""
    traced, flat = ir.load(small.generator), flat_trials(small.model)
    return {form: make_base(traced, form, SIDE, calibration.ranges, flat)[0] for form in ("taps16", "phases")}


@pytest.fixture(scope="module")
def made(bases, calibration):
    """A function (precision, norms="fused") -> FrameGraph."""

    def make(precision: str, norms: str = "fused"):
        base = bases[form_for("taps16", precision)]
        frame = base.frame
        if precision in RULES:
            options = SearchOptions(rules=RULES[precision], gate=Gate(0))
            sizes = {"batch": 1, "styles": 1, "height": SIDE, "width": SIDE}
            frame = quantise(frame, sizes, calibration, options).model
        return make_in_precision(replace(base, frame=frame), replace(PLAN, precision=precision, norms=norms), SIDE)

    return make


@pytest.mark.parametrize("norms", ["fused", "unfused"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "fp8"])
def test_no_operator_is_given_mixed_types(made, precision, norms):
    model = made(precision, norms).frame
    # every type anew, from the inputs on, by the format's own rules
    for node in model.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.type = value.shape = None
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)


@pytest.mark.parametrize(("precision", "kind"), [
    ("fp16", ir.DataType.FLOAT16), ("int8", ir.DataType.FLOAT16), ("fp8", ir.DataType.FLOAT16),
    ("bf16", ir.DataType.BFLOAT16),
])  # fmt: skip
def test_every_convolution_is_in_half_and_no_norm_is_the_engines_own(made, precision, kind):
    model = made(precision).frame
    convolutions = [node for node in model.graph if node.op_type in {"Conv", "ConvTranspose"}]
    assert convolutions
    assert {value.dtype for node in convolutions for value in (*node.inputs, *node.outputs)} == {kind}
    assert "InstanceNormalization" not in operators(model)
    if precision == "bf16":
        assert "ConvTranspose" not in operators(model)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_codes_stand_right_in_front_of_the_convolutions(made, precision):
    model = made(precision).frame

    def makers(node: ir.Node) -> list[str | None]:
        return [maker.op_type if (maker := value.producer()) is not None else None for value in node.inputs]

    convolutions = [node for node in model.graph if node.op_type == "Conv" and node.name != "from_rgb.bytes"]
    assert {tuple(makers(node)[:2]) for node in convolutions} == {("DequantizeLinear", "DequantizeLinear")}
    assert {tuple(makers(node)[2:]) for node in convolutions} <= {(), (None,)}
    # transposed ones have no kernels for codes, and the image's own channels are too few
    others = [node for node in model.graph if node.op_type == "ConvTranspose" or node.name == "from_rgb.bytes"]
    assert len(others) == 2
    assert not [node for node in others if "DequantizeLinear" in makers(node)]
    assert model.graph.opset_imports[""] >= 19


def test_float32_with_decomposed_norms_is_the_network_for_any_batch_size_and_number_of_styles(small, bases):
    base = bases["taps16"]
    candidate = OnnxCandidate(with_decomposed_norms(base.frame.clone(), base, SIDE).frame)
    trials = make_trials(small.model)
    assert {(trial.batch, len(trial.styles)) for trial in trials} == {(1, 1), (2, 2), (5, 5), (3, 1)}
    for trial in trials:
        expected = translate_with_torch(small.networks.generator, trial)
        np.testing.assert_allclose(candidate.translate_unrounded(trial) / 127.5 - 1, expected, atol=2e-4)


def test_the_plugins_graph_has_a_node_for_each_norm(made, bases):
    found = made("fp16", "plugin")
    assert operators(found.frame)["AdainLeakyRelu"] == len(bases["taps16"].norms) == len(found.norms)
    assert {norm.statistics for norm in found.norms} == {"two-pass"}


def test_float32_leaves_norms_to_the_engine_and_says_so(made):
    assert made("fp32").norms == ()
    assert "InstanceNormalization" in operators(made("fp32").frame)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_unfused_norms_are_the_engines_own_in_half(made, precision):
    found = made(precision, "unfused")
    norms = [node for node in found.frame.graph if node.op_type == "InstanceNormalization"]
    kind = ir.DataType.BFLOAT16 if precision == "bf16" else ir.DataType.FLOAT16
    assert {value.dtype for node in norms for value in (*node.inputs, *node.outputs)} == {kind}
    assert (len(norms), found.norms) == (13, ())


@pytest.fixture
def one_norm() -> ir.Model:
    """A frame graph that normalises the image itself."""
    model = frame(
        "c = Conv (x, w)  n = InstanceNormalization (c, one, zero)  y = Mul (n, hundred)",
        w=np.eye(3).reshape(3, 3, 1, 1), one=np.ones(3), zero=np.zeros(3), hundred=100.0,
    )  # fmt: skip
    model.graph.inputs[1].name = "style"
    model.graph.outputs[0].shape = ir.Shape(["batch", "height", "width", 3])
    return model


STYLE = np.zeros((1, 6), np.float32)
TEXTURED = [Trial(draw_images(1, SIDE, SIDE, seed=5), STYLE)]
USUAL = TEXTURED[0].sources.mean(axis=(0, 1, 2))


def of_one_colour(level: int) -> list[Trial]:
    return [Trial(np.full((1, SIDE, SIDE, 3), level, np.uint8), STYLE)]


def test_a_norm_that_an_image_of_one_colour_throws_far_off_takes_two_passes(one_norm):
    [norm] = make_base(one_norm, "plain", SIDE, TEXTURED, TEXTURED)[0].norms
    assert (norm.statistics, norm.centred) == ("one-pass", True)
    [norm] = make_base(one_norm, "plain", SIDE, TEXTURED, of_one_colour(120))[0].norms
    assert (norm.statistics, norm.centred) == ("two-pass", True)
    # a plane without texture has no std but the root of epsilon
    assert norm.ratio == pytest.approx(np.abs(120 - USUAL).max() / np.sqrt(1e-5), rel=1e-3)


def test_a_norm_is_not_centred_where_that_alone_throws_images_of_one_colour_far_off(one_norm):
    base, left = make_base(one_norm, "plain", SIDE, TEXTURED, of_one_colour(0))
    [norm] = base.norms
    assert (norm.statistics, norm.centred) == ("one-pass", False)
    assert norm.ratio == pytest.approx((USUAL / TEXTURED[0].sources.std(axis=(0, 1, 2))).max(), rel=1e-3)
    assert left == (
        "n: images of one colour are further from zero with the usual mean subtracted",
    )  # fmt: skip


class Reader(nn.Module):
    """Six numbers of an image of any size, as a landmark network reads one."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(48, 6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        small = F.interpolate(from_bytes(image), size=(4, 4), mode="bilinear")
        read: torch.Tensor = self.linear(small.flatten(1))
        return read


def test_a_graph_for_images_of_any_size_has_no_products_either():
    reader = Reader()
    example = {"image": torch.zeros(2, 6, 10, 3, dtype=torch.uint8)}
    traced = trace_style_graph(StyleGraph("reader.onnx", reader, example, reader, {}, any_size=True))
    without_products(traced)
    assert not {"Gemm", "MatMul"} & operators(traced).keys()
    images = draw_images(1, 18, 12, seed=1)
    [got] = open_session(traced).run(None, {"image": images})
    assert np.allclose(got, reader(torch.from_numpy(images)).detach().numpy(), atol=1e-5)
