from __future__ import annotations

from collections import Counter

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from starcast.export.gate.candidates import difference, open_session
from starcast.export.graphs.even_sides import set_multiple
from starcast.export.passes.wide_norms import join_wide_norms, split_early_norms, split_wide_norms


def norm(height: int, width: int, scale: str = "2, 3", bias: str = "1, -1") -> ir.Model:
    """One instance norm over two channels."""
    return ir.from_proto(
        onnx.parser.parse_model(
            f"""<ir_version: 8, opset_import: ["": 18]>
            g (float[batch, 2, {height}, {width}] x) => (float[batch, 2, {height}, {width}] y)
            <float[2] w.weight = {{{scale}}}, float[2] w.bias = {{{bias}}}>
            {{ y = InstanceNormalization <epsilon = 0.00001> (x, w.weight, w.bias) }}""".replace("w.", "w_")
        )
    )


def in_float64(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The norm above as the paper writes it."""
    wide = x.astype(np.float64)
    mean, variance = wide.mean(axis=(2, 3), keepdims=True), wide.var(axis=(2, 3), keepdims=True)
    scale, bias = np.array([2, 3])[:, None, None], np.array([1, -1])[:, None, None]
    return (wide - mean) / np.sqrt(variance + 1e-5) * scale + bias


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def drawing(height: int, width: int) -> NDArray[np.float32]:
    """Two flat fields: equal numbers, which one long sum rounds the same way each time."""
    x = np.full((2, 2, height, width), 7.3, np.float32)
    x[:, :, : height // 4, : width // 4] = 0.1
    return x


def test_a_wide_norm_gives_the_same_numbers() -> None:
    model = norm(512, 512)
    assert split_wide_norms(model, 512) == 1
    assert "InstanceNormalization" not in operators(model)
    noise = np.random.RandomState(0).standard_normal((3, 2, 512, 512)).astype(np.float32)
    [got] = open_session(model).run(None, {"x": noise})
    assert difference(got, in_float64(noise)) < 2e-6


def test_a_wide_norm_keeps_the_digits_of_a_drawing() -> None:
    x = drawing(1024, 1024)
    plain, split = norm(1024, 1024), norm(1024, 1024)
    split_wide_norms(split, 1024)
    errors = [difference(open_session(model).run(None, {"x": x})[0], in_float64(x)) for model in (plain, split)]
    assert errors[1] < 1e-5
    assert errors[0] > 3 * errors[1]  # once engines sum better themselves, this rewrite can go


@pytest.mark.parametrize(("height", "width"), [(256, 256), (16, 16)])
def test_other_norms_are_left_alone(height: int, width: int) -> None:
    model = norm(height, width)
    assert split_wide_norms(model, 512) == 0
    assert operators(model) == {"InstanceNormalization": 1}


def test_scales_of_one_and_biases_of_nought_cost_nothing() -> None:
    model = norm(512, 512, scale="1, 1", bias="0, 0")
    split_wide_norms(model, 512)
    assert operators(model) == {"AveragePool": 6, "ReduceMean": 2, "Sub": 1, "Mul": 1, "Add": 1, "Sqrt": 1, "Div": 1}


def test_what_was_split_is_joined_again_and_nothing_else_is(small):
    model = ir.load(small.generator)
    before = operators(model)
    assert join_wide_norms(model) == 0
    assert operators(model) == before
    split = split_wide_norms(model, 16 * 32)  # as if the network were trained at sixteen times its size
    assert split > 1
    assert operators(model)["InstanceNormalization"] == before["InstanceNormalization"] - split
    assert join_wide_norms(model) == split
    after = operators(model)
    assert after["InstanceNormalization"] == before["InstanceNormalization"]
    assert (after["Div"], after["Sqrt"], after["ReduceMean"]) == tuple(
        before[name] for name in ("Div", "Sqrt", "ReduceMean")
    )


@pytest.mark.parametrize("trained", [260, 300, 512])
def test_images_whose_sides_no_tile_of_sixteen_divides_give_the_same_numbers(trained):
    model = norm(trained, trained)
    set_multiple(model.graph.inputs[0], 4)  # as StarGAN v1's, which takes images of any multiple of 4
    assert split_wide_norms(model, trained) == 1
    model.graph.inputs[0].shape = model.graph.outputs[0].shape = ir.Shape(["batch", 2, "height", "width"])
    x = np.random.RandomState(0).standard_normal((1, 2, 44, 52)).astype(np.float32)
    [got] = open_session(model).run(None, {"x": x})
    assert difference(got, in_float64(x)) < 2e-6


def test_early_norms_are_the_wide_ones_before_the_smallest_map(small):
    model = ir.load(small.generator)
    side = 8 * 32  # as if the network were trained at eight times its size
    before = [node.name for node in model.graph if node.op_type == "InstanceNormalization"]
    count = split_early_norms(model, side)
    left = [node.name for node in model.graph if node.op_type == "InstanceNormalization"]
    gone = [name for name in before if name not in left]
    assert len(gone) == count > 0
    assert all(name.startswith("encode.") for name in gone)
    assert split_wide_norms(model, side, wide=64) > 0  # those after it
