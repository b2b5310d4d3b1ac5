"""Variants for TensorRT in a bundle: written, gated, described, and built without a graphics card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from starcast.errors import EngineError, OptionError, ParityError
from starcast.export.options import ExportOptions
from starcast.export.write import export_bundle
from starcast.runtime.bundle import Bundle
from starcast.runtime.nvidia.tensorrt.build import build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.variants import Variant

EVERY = ("fp32", "fp16", "bf16", "int8", "fp8")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 24 smooth images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    draws = np.random.RandomState(0)
    for number in range(24):
        coarse = draws.randint(0, 256, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def asked(**others) -> ExportOptions:
    return ExportOptions(**{"mean_draws": 10, "backends": ("tensorrt",), **others})


def by_precision(bundle: Bundle) -> dict[str, Variant]:
    return {variant.precision: variant for variant in bundle.manifest.variants}


def test_every_precision_is_a_graph_of_its_own_with_what_its_gate_measured(small_checkpoint, tmp_path, photos):
    lines: list[str] = []
    options = asked(precision=EVERY, calibrate=photos, min_psnr=15)
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lines.append)
    variants = by_precision(bundle)
    assert tuple(variants) == EVERY
    assert {variant.engines for variant in variants.values()} == {("tensorrt", "tensorrt-rtx")}
    assert {variant.condition for variant in variants.values()} == {"style"}
    assert {name: variant.form for name, variant in variants.items()} == dict.fromkeys(EVERY, "taps16") | {
        "bf16": "phases"
    }
    for name, variant in variants.items():
        assert variant.file == f"generator/{variant.form}-fused-{name}.onnx"
        # weights of its own, which a build need not search for among others'
        assert bundle.graph_bytes(variant.file) == sum(
            bundle.file(file).stat().st_size for file in (variant.file, variant.file.replace(".onnx", ".data"))
        )
        assert (variant.parity is not None) == (name == "fp32")
        assert (variant.quality is not None) == (name != "fp32")
        assert len(variant.norms) == (0 if name == "fp32" else 13)
        assert variant.rewrites["style-sums"] == 1
    psnr = {name: min(d.psnr_mean for d in v.quality.domains.values()) for name, v in variants.items() if v.quality}
    assert psnr["fp16"] > 50 > psnr["bf16"] > psnr["int8"] > psnr["fp8"] > 15
    weights = {name: bundle.file(v.file.replace(".onnx", ".data")).stat().st_size for name, v in variants.items()}
    assert weights["int8"] < weights["fp16"] < weights["fp32"]
    [norms, *_] = [line for line in lines if "norms: " in line]
    assert "norms: 13 in one pass, 0 in two, 13 centred; |mean| / std at most" in norms


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_plugins_graph_is_for_full_tensorrt_and_holds_no_function(small_checkpoint, tmp_path, precision):
    options = asked(precision=(precision,), adain=("plugin",))
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)
    variant = by_precision(bundle)[precision]
    assert (variant.form_name, variant.engines) == ("taps16-plugin", ("tensorrt",))
    model = onnx.load(bundle.file(variant.file))
    assert not model.functions
    assert sum(node.domain == "starcast" for node in model.graph.node) == len(variant.norms) == 13


def test_fused_and_plugged_norms_stand_side_by_side_where_both_are_asked_for(small_checkpoint, tmp_path):
    options = asked(precision=("fp16",), adain=("fused", "plugin"))
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)
    assert [(variant.form_name, variant.precision) for variant in bundle.manifest.variants] == [
        ("taps16", "fp32"), ("taps16-plugin", "fp32"), ("taps16", "fp16"), ("taps16-plugin", "fp16"),
    ]  # fmt: skip


def test_unfused_norms_are_a_form_of_their_own_in_what_is_smaller_than_float32(small_checkpoint, tmp_path):
    options = asked(precision=("fp16", "bf16"), adain=("fused", "unfused"), min_psnr=20)
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)
    assert [(variant.form_name, variant.precision) for variant in bundle.manifest.variants] == [
        ("taps16", "fp32"), ("taps16", "fp16"), ("taps16-unfused", "fp16"), ("phases", "bf16"),
        ("phases-unfused", "bf16"),
    ]  # fmt: skip
    [unfused] = [variant for variant in bundle.manifest.variants if variant.form_name == "taps16-unfused"]
    assert unfused.engines == ("tensorrt", "tensorrt-rtx")


def test_without_images_norms_are_calibrated_on_drawn_ones_and_a_line_says_so(small_checkpoint, tmp_path):
    lines: list[str] = []
    bundle = export_bundle(small_checkpoint, tmp_path / "model", asked(precision=("fp16",)), lines.append)
    assert by_precision(bundle)["fp16"].quality is not None
    assert any("calibrating on drawn images: " in line and "drawings" not in line for line in lines)


@pytest.mark.parametrize("options", [asked(precision=("int8",)), asked(precision=("fp8",))], ids=["int8", "fp8"])
def test_codes_are_not_calibrated_on_drawn_images(small_checkpoint, tmp_path, options):
    with pytest.raises(OptionError, match="give a folder of them with --calibrate DIR"):
        export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)


@pytest.mark.parametrize("precision", ["fp16", "fp8"])
def test_below_the_gate_nothing_is_written_and_the_layers_to_blame_are_named(
    small_checkpoint, tmp_path, photos, precision
):
    target = tmp_path / "bundles" / "model"
    options = asked(precision=(precision,), calibrate=photos, min_psnr=99)
    words = rf"{precision} translations are only within .* most of it lost in \S+ and \S+ and \S+: .* --min-psnr"
    with pytest.raises(ParityError, match=words):
        export_bundle(small_checkpoint, target, options, lambda _: None)
    assert not target.parent.exists()


def test_the_processors_engines_keep_their_variants_beside_tensorrts(small_checkpoint, tmp_path, photos):
    options = asked(backends=("onnxruntime", "tensorrt"), precision=("int8", "fp16"), calibrate=photos, min_psnr=15)
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)
    assert [(variant.engines[0], variant.precision) for variant in bundle.manifest.variants] == [
        ("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("tensorrt", "fp32"), ("tensorrt", "int8"),
        ("tensorrt", "fp16"),
    ]  # fmt: skip
    assert {v.condition for v in bundle.manifest.variants if v.engines == ("onnxruntime",)} == {"gamma_beta"}


@pytest.mark.slow
def test_tensorrt_for_rtx_builds_every_precision_without_a_card(small_checkpoint, tmp_path, photos):
    pytest.importorskip("tensorrt_rtx")
    options = asked(precision=EVERY, calibrate=photos, min_psnr=15)
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)

    def build(precision: str, gpu: str):
        wanted = BuildOptions(engine="tensorrt-rtx", precision=precision, gpu=(gpu,), batch="1:2:4")
        return build_engines(bundle.path, wanted, progress=lambda _: None, folder=tmp_path / "cache")

    for precision in EVERY:
        roles = {facts.spec.role for facts in build(precision, "sm89").engines}
        assert by_precision(bundle)[precision].file in roles
    build("fp16", "sm75")  # the graphs of styles, too: Turing has no float32 matrix product there
    with pytest.raises((EngineError, OptionError), match="fp8"):
        build("fp8", "sm86")
