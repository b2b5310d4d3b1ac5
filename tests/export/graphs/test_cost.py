from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
import torch
from small_graphs import graph

from starcast.export.graphs.cost import count_flop, working_bytes
from starcast.export.trace import trace_generator
from starcast.train.families.stargan_v2.networks import StarGANv2Config, empty_networks


def parse(body: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 18]>\n' + body))


def test_a_convolution_is_two_operations_a_tap_and_output() -> None:
    model = parse(
        "g (float[N, 4, H, W] x, float[6, 4, 3, 3] w) => (float[N, 6, H, W] y) "
        "{ y = Conv <pads = [1, 1, 1, 1]> (x, w) }"
    )
    assert count_flop(model, {"N": 2, "H": 8, "W": 10}) == 2 * (2 * 6 * 8 * 10) * (4 * 3 * 3)


def test_a_grouped_convolution_reads_its_own_channels_only() -> None:
    model = parse(
        "g (float[1, 4, 8, 8] x, float[4, 1, 3, 3] w) => (float[1, 4, 6, 6] y) { y = Conv <group = 4> (x, w) }"
    )
    assert count_flop(model, {}) == 2 * (4 * 6 * 6) * (1 * 3 * 3)


def test_a_transposed_convolution_spreads_each_input() -> None:
    model = parse(
        "g (float[1, 4, 8, 8] x, float[4, 6, 4, 4] w) => (float[1, 6, 16, 16] y) "
        "{ y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w) }"
    )
    assert count_flop(model, {}) == 2 * (4 * 8 * 8) * (6 * 4 * 4)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = parse("g (float[N, 4, 8, 8] x, float[6, 4, 1, 1] w) => (float[N, 6, 8, 8] y) { y = Conv (x, w) }")
    count_flop(model, {"N": 3})
    assert str(model.graph.inputs[0].shape[0]) == "N"


def test_a_size_that_is_not_given_is_an_error() -> None:
    model = parse("g (float[N, 4, 8, 8] x, float[6, 4, 1, 1] w) => (float[N, 6, 8, 8] y) { y = Conv (x, w) }")
    with pytest.raises(KeyError, match="N"):
        count_flop(model, {})


def test_the_official_generator_needs_97_gflop_an_image() -> None:
    # 48.65 G multiply-adds, as counted for the published network (256 px, 3 domains)
    config = StarGANv2Config(image_size=256, domains=3)
    generator = empty_networks(config, training=False).generator
    for parameter in generator.parameters():
        parameter.data = torch.ones(()).expand(parameter.shape)  # 33.9 million weights that take no memory
    frame = trace_generator(generator, config.image_size, config.style_dim)
    sizes = {"batch": 1, "styles": 1, "height": 256, "width": 256}
    assert count_flop(frame, sizes) == pytest.approx(97.29e9, rel=1e-4)
    assert count_flop(frame, {**sizes, "width": 128}) * 2 == count_flop(frame, sizes)


SIZES = {"batch": 1, "height": 4, "width": 4}
PLANE = 4 * 4 * 4  # bytes of a channel of float32


def test_a_chain_needs_two_neighbours_at_a_time():
    weight = np.zeros((8, 2, 1, 1))
    model = graph("a = Conv (x, w)  b = Relu (a)  y = Neg (b)", "float[batch, 2, height, width] x",
                  "float[batch, 8, height, width] y", w=weight)  # fmt: skip
    assert working_bytes(model, SIZES) == 2 * 8 * PLANE


def test_a_value_that_is_read_again_later_lives_until_then():
    model = graph("a = Neg (x)  b = Neg (a)  c = Neg (b)  y = Add (c, x)", "float[batch, 2, height, width] x",
                  "float[batch, 2, height, width] y")  # fmt: skip
    assert working_bytes(model, SIZES) == 3 * 2 * PLANE


def test_bytes_are_those_of_the_type_and_of_the_size():
    model = graph("y = Identity (x)", "uint8[batch, height, width, 3] x", "uint8[batch, height, width, 3] y")
    assert working_bytes(model, SIZES) == 2 * 48
    assert working_bytes(model, {**SIZES, "height": 8}) == 2 * 96


def test_a_shape_that_is_not_known_is_named():
    model = graph("s = Shape (x)  e = NonZero (x)  y = Neg (x)", "float[batch, 2, height, width] x",
                  "float[batch, 2, height, width] y")  # fmt: skip
    with pytest.raises(ValueError, match="its shape .* is not known"):
        working_bytes(model, SIZES)
