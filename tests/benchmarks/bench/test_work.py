"""What an image costs in each graph, by hand on small ones."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx_ir as ir
import pytest
from measured_rows import row
from small_graphs import graph

from starcast.benchmarks.bench.work import Work, numbers_of_convolutions, work_of
from starcast.runtime.bundle import open_bundle

SIZES = {"batch": 1, "height": 8, "width": 16}


@pytest.fixture
def two_convolutions():
    nodes = """
        c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)
        d = Relu(c)
        y = ConvTranspose <strides = [2, 2]> (d, u)
    """
    weights = {"w": np.ones((5, 3, 4, 4)), "u": np.ones((5, 2, 2, 2))}
    model = graph(nodes, "float[batch, 3, height, width] x", "float[batch, 2, h, w] y", **weights)
    model.graph.outputs[0].shape = ir.Shape(["batch", 2, "height", "width"])
    return model


def test_convolutions_read_and_write_their_maps_once(two_convolutions):
    # 3x8x16 -> 5x4x8 -> 2x8x16; the ReLU between them is no convolution
    assert numbers_of_convolutions(two_convolutions, SIZES) == (3 * 128 + 5 * 32) + (5 * 32 + 2 * 128)


def test_numbers_are_four_bytes_in_float32_and_two_in_everything_smaller():
    work = Work({}, 100)
    assert [work.bytes(name) for name in ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")] == [
        400,
        400,
        200,
        200,
        200,
        200,
    ]


def test_flop_are_the_plain_graphs_and_each_variants_at_the_size_that_is_measured(
    two_convolutions, tiny_bundle, tmp_path
):
    path = tmp_path / "plain.onnx"
    ir.save(two_convolutions, path)
    bundle = open_bundle(tiny_bundle)  # of 32x32
    [variant] = bundle.manifest.variants
    variants = (msgspec.structs.replace(variant, flop=1024_000),)
    counted = type(bundle)(bundle.path, msgspec.structs.replace(bundle.manifest, variants=variants), bundle.sha256)
    work = work_of(path, counted, (8, 16))
    # two a multiply-add: each of 5x4x8 outputs sums over 3x4x4; each of 5x4x8 inputs is spread over 2x2x2
    assert work.flop[None] == 2 * (5 * 32 * 48 + 5 * 32 * 8)
    assert work.flop[variant.file] == 128_000
    # 3x8x16 -> 5x4x8 -> 2x8x16; the tiny bundle's graph has other dimensions than an export's
    assert work.moved == {None: (3 * 128 + 5 * 32) + (5 * 32 + 2 * 128)}
    assert work.weights == {None: 4 * (5 * 3 * 16 + 5 * 2 * 4), variant.file: variant.bytes}


def test_a_rows_work_is_its_graphs_and_pytorchs_is_the_plain_graphs():
    work = Work({None: 8_000, "frame.onnx": 6_000}, 0, {None: 2_000_000, "frame.onnx": 500_000}, {None: 4_000_000})
    assert work.row_json(row()) == {"flop": 8_000, "weights_mb": 4.0, "convolutions_mb": 8.0}
    assert work.row_json(row("ours")) == {"flop": 6_000, "weights_mb": None, "convolutions_mb": 2.0}
    in_bytes = row("ours", precision="int8")  # the engine chooses what it stores between layers
    assert work.row_json(in_bytes)["convolutions_mb"] is None
