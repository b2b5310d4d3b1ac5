from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from starcast.runtime.bundle import open_bundle
from starcast.runtime.manifest import FORMAT, MANIFEST, Manifest
from starcast.runtime.manifest_json import decode, encode

MANIFESTS = Path(__file__).with_name("manifests")  # as starcast wrote them when each format was its newest


def read(number: int) -> Manifest:
    path = MANIFESTS / f"format-{number}.json"
    return decode(path.read_bytes(), path)


@pytest.mark.parametrize("number", [1, 2])
def test_a_manifest_of_an_earlier_format_reads_as_one_of_the_present(number):
    manifest = read(number)
    assert manifest.format == FORMAT
    assert decode(encode(manifest), Path(MANIFEST)) == manifest


def test_a_bundle_of_format_1_opens_and_its_graphs_are_whole(tmp_path, tiny_bundle):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    shutil.copyfile(MANIFESTS / "format-1.json", bundle / MANIFEST)
    opened = open_bundle(bundle)
    [variant] = opened.manifest.variants
    assert (variant.engines, variant.form, variant.adain) == (("openvino", "onnxruntime"), "plain", "native")
    assert [opened.graph(name)[0].is_file() for name in (variant.file, "mapping.onnx", "style_encoder.onnx")]


def test_weights_that_format_2_left_to_the_files_names_are_listed():
    manifest = read(2)
    weights = {variant.file.removeprefix("generator/"): variant.weights for variant in manifest.variants}
    shared = tuple(sorted(name for name in manifest.files if name.endswith(".data")))
    assert "generator/weights.data" in shared
    assert len(shared) == 5
    assert weights == {
        "taps9-fp32.onnx": shared,  # which of a folder's files a graph reads was not said
        "taps9-fp32.param": ("generator/taps9-fp32.bin",),
        "taps9-int8-bf16.onnx": ("generator/taps9-int8.data",),
        **{
            f"taps16-{adain}-fp16.onnx": (f"generator/taps16-{adain}-fp16.data",)
            for adain in ("fused", "plugin", "unfused")
        },
    }
    condition = manifest.condition
    assert condition.product is not None
    assert (condition.product.graph, condition.product.weights) == ("style_product.onnx", ())


def test_norms_that_format_2_left_to_the_forms_name_have_a_field():
    ways = {(variant.form_name, variant.form, variant.adain) for variant in read(2).variants}
    assert ways == {
        ("taps9", "taps9", "native"), ("taps16", "taps16", "fused"), ("taps16-plugin", "taps16", "plugin"),
        ("taps16-unfused", "taps16", "unfused"),
    }  # fmt: skip


@pytest.mark.parametrize(("graph", "own"), [
    ("a/b.onnx", "a/b.data"), ("a/b-int8-bf16.onnx", "a/b-int8.data"), ("a/b.param", "a/b.bin"),
])  # fmt: skip
def test_weights_of_a_graphs_own_name_are_the_only_ones_that_it_needs(graph, own):
    manifest = json.loads((MANIFESTS / "format-1.json").read_bytes())
    facts = manifest["files"]["mapping.onnx"]
    manifest["files"] |= dict.fromkeys((graph, own, "a/other.bin", "a/shared.data"), facts)
    manifest["variants"][0]["file"] = graph
    assert decode(json.dumps(manifest).encode(), Path(MANIFEST)).weights_of(graph) == (own,)


def test_gates_of_format_2_count_their_images():
    variants = {variant.file.removeprefix("generator/"): variant for variant in read(2).variants}
    parity, quality = variants["taps9-fp32.onnx"].parity, variants["taps16-fused-fp16.onnx"].quality
    assert parity is not None
    assert quality is not None
    assert parity.images == 11
    assert {domain.images for domain in quality.domains.values()} == {4}
