"""What a bundle's folder holds while graphs are written into it."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
import pytest

from starcast.export.gate.verdict import Verdict
from starcast.export.plan import FrameGraph, Plan
from starcast.export.store import Store
from starcast.export.targets.onnx import make_float32
from starcast.runtime.manifest import DomainQuality, GraphFiles, Parity, Quality

pytestmark = pytest.mark.xdist_group("small graphs")

PLAN = Plan("taps9", ("openvino",))
PARITY = Parity(worst=1e-5, tolerance=2e-4, levels=1, images=11, batches=(1, 2, 5, 3))
QUALITY = Quality(
    domains={"ink": DomainQuality(images=6, psnr_mean=50, psnr_worst=49, ssim_mean=1, ssim_worst=1)}
)  # fmt: skip


@pytest.fixture
def graph(small) -> FrameGraph:
    return make_float32(ir.load(small.generator), PLAN, small.config.image_size)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path, {"family": "stargan_v2"})


def test_a_graph_is_written_with_its_weights_and_the_product_it_needs(store, graph, tmp_path):
    assert store.product is None
    stored = store.write(graph)
    assert stored.path == tmp_path / "generator/taps9-fp32.onnx"
    assert stored.weights == (tmp_path / "generator/weights.data",)
    assert stored.product == tmp_path / "style_product.onnx"
    assert store.product == GraphFiles(graph="style_product.onnx")
    assert ir.load(stored.path).metadata_props["family"] == "stargan_v2"


def test_a_hint_on_a_graph_is_a_variant_of_the_same_file(store, graph):
    stored = store.write(graph)
    written = stored.path.stat().st_mtime_ns
    hint = replace(graph, plan=replace(PLAN, precision="bf16"))
    assert store.write(hint) is stored
    assert stored.path.stat().st_mtime_ns == written
    store.add(graph, stored, Verdict(parity=PARITY))
    store.add(hint, stored, Verdict(quality=QUALITY))
    exact, fast = store.variants
    assert (fast.file, fast.weights, fast.bytes) == (exact.file, exact.weights, exact.bytes)
    assert [(variant.precision, variant.parity, variant.quality) for variant in store.variants] == [
        ("fp32", PARITY, None), ("bf16", None, QUALITY),
    ]  # fmt: skip


def test_another_try_at_a_plan_takes_the_place_of_the_first(store, graph, small):
    first = store.write(graph)
    size = first.weights[0].stat().st_size
    store.restart(PLAN)
    second = store.write(make_float32(ir.load(small.generator), PLAN, small.config.image_size))
    assert second.path == first.path
    assert second.weights[0].stat().st_size == size  # and not twice as large


def test_a_line_says_what_was_measured():
    assert str(Verdict(parity=PARITY)).startswith("generator against PyTorch: 1.0e-05, bytes within 1")
    assert str(Verdict(quality=QUALITY)) == "ink 50.0 dB (worst 49.0), SSIM 1.000"
