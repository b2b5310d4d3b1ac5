"""What a bundle's folder holds while graphs are written into it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from starcast.errors import BundleError
from starcast.export.gate.quality import Verdict
from starcast.export.plan import FrameGraph, Plan
from starcast.export.store import Store, writable_target
from starcast.export.targets.onnx import make_float32
from starcast.runtime.manifest import GraphFiles
from starcast.runtime.variants import DomainQuality, Parity, Quality

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


def bundle_at(path: Path, *, format: int = 1) -> Path:
    """A folder with a bundle's manifest and one listed file."""
    (path / "generator").mkdir(parents=True)
    (path / "generator/plain-fp32.onnx").write_bytes(b"graph")
    files = {"generator/plain-fp32.onnx": {"sha256": "0", "bytes": 5}}
    (path / "manifest.json").write_text(json.dumps({"format": format, "variants": [], "files": files}))
    return path


def test_a_new_folder_may_be_written(tmp_path: Path) -> None:
    assert writable_target(tmp_path / "new" / "model") == (tmp_path / "new" / "model").resolve()


def test_an_empty_folder_may_be_written(tmp_path: Path) -> None:
    assert writable_target(tmp_path) == tmp_path.resolve()


@pytest.mark.parametrize("format", [1, 99])
def test_an_old_bundle_may_be_replaced_whatever_its_format(tmp_path: Path, format: int) -> None:
    bundle = bundle_at(tmp_path / "model", format=format)
    (bundle / ".DS_Store").write_bytes(b"")
    assert writable_target(bundle) == bundle.resolve()


def test_a_damaged_bundle_may_be_replaced(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "model")
    (bundle / "generator/plain-fp32.onnx").unlink()
    assert writable_target(bundle) == bundle.resolve()


def test_a_folder_of_someone_elses_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BundleError, match=r"not a bundle \(a.jpg, b.jpg, c.jpg and 2 more\), which would be lost"):
        writable_target(tmp_path)


def test_a_bundle_with_someone_elses_file_inside_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "model")
    (bundle / "out").mkdir()
    (bundle / "out/cat.png").write_bytes(b"image")
    with pytest.raises(BundleError, match=r"not its own \(out/cat.png\)"):
        writable_target(bundle)
    assert (bundle / "out/cat.png").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": 1, "variants": [], "files": []}'])
def test_another_programs_manifest_makes_no_bundle(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        writable_target(tmp_path)


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    with pytest.raises(BundleError, match="is a file: give a folder"):
        writable_target(tmp_path / "model")


def test_an_interrupted_replacement_is_repaired_first(tmp_path: Path) -> None:
    bundle_at(tmp_path / ".replaced-model")
    assert (writable_target(tmp_path / "model") / "manifest.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_is_followed(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "model")
    (tmp_path / "link").symlink_to(bundle)
    assert writable_target(tmp_path / "link") == bundle.resolve()
