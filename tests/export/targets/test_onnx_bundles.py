"""Variants below float32 for the CPU's engines: written if they pass their gates, and otherwise no bundle at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image
from small_graphs import operators

from starcast.errors import OptionError, ParityError
from starcast.export.gate import judge
from starcast.export.options import ExportOptions
from starcast.export.passes import wide_norms
from starcast.export.write import export_bundle
from starcast.runtime.engines import openvino
from starcast.runtime.engines.openvino import lacks
from starcast.runtime.translator import Translator


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 24 smooth images."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draws = np.random.RandomState(0)
    for number in range(24):
        coarse = draws.randint(0, 256, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def asked(images: Path | None, **others) -> ExportOptions:
    return ExportOptions(
        mean_draws=10, backends=("openvino", "onnxruntime"), precision=("fp32", "bf16", "int8"), calibrate=images,
        **others,
    )  # fmt: skip


def test_an_export_with_images_holds_every_precision_and_its_figures(small_checkpoint, tmp_path, images):
    lines: list[str] = []
    bundle = export_bundle(small_checkpoint, tmp_path / "model", asked(images, min_psnr=20), lines.append)
    by_precision = {name: [v for v in bundle.manifest.variants if v.precision == name] for name in ("bf16", "int8")}
    beside = [] if lacks("bf16") else [("openvino", "bf16")]
    assert [(*v.engines, v.rest) for v in by_precision["int8"]] == [*beside, ("openvino", None), ("onnxruntime", None)]
    assert bool(by_precision["bf16"]) == (lacks("bf16") is None)
    for variant in [*by_precision["bf16"], *by_precision["int8"]]:
        assert variant.quality is not None
        assert variant.parity is None
        assert set(variant.quality.domains) == {"ink", "photo", "chalk"}
        assert min(domain.psnr_mean for domain in variant.quality.domains.values()) >= 20
    assert all(variant.bytes < bundle.manifest.variants[0].bytes for variant in by_precision["int8"])
    source = np.random.RandomState(1).randint(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    for backend in ("openvino", "onnxruntime"):
        made = {}
        for precision in ("fp32", "int8"):
            with Translator(tmp_path / "model", backend=backend, precision=precision) as translator:
                style = translator.style(domain=0, seed=1)
                made[precision] = translator(source, style)
        assert 0 < np.abs(made["int8"].astype(int) - made["fp32"]).mean() < 20


def rounded_outputs(graph: Path) -> int:
    """How many transposed convolutions have codes behind them."""
    nodes = [node for node in ir.load(graph).graph if node.op_type == "ConvTranspose"]
    return sum(reader.op_type == "QuantizeLinear" for node in nodes for reader, _ in node.outputs[0].uses())


@pytest.mark.skipif(lacks("bf16") is not None, reason="this processor has no bfloat16")
def test_what_a_pool_reads_is_never_codes_of_a_convolution(small_checkpoint, tmp_path, images):
    # OpenVINO would round the mean to codes again
    for without, counts in (((), [1, 0]), (("grouped-boxes",), [0, 0])):
        options = replace(
            asked(images, min_psnr=20, without=without), backends=("openvino",), precision=("fp32", "int8")
        )
        bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)
        both_and_alone = [bundle.path / v.file for v in bundle.manifest.variants if v.precision == "int8"]
        assert [min(1, rounded_outputs(graph)) for graph in both_and_alone] == counts


@pytest.mark.skipif(lacks("bf16") is not None, reason="this processor has no bfloat16")
def test_int8_with_bf16_beside_it_has_no_pools_and_the_weights_of_the_other(small_checkpoint, tmp_path, images):
    options = replace(asked(images, min_psnr=20), backends=("openvino",), precision=("fp32", "int8"))
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)
    both, alone = (variant for variant in bundle.manifest.variants if variant.precision == "int8")
    assert (both.arithmetic, alone.arithmetic) == ("int8+bf16", "int8")
    left, pools = (operators(ir.load(bundle.path / variant.file))["AveragePool"] for variant in (both, alone))
    assert (left, both.rewrites["grouped-boxes"]) == (0, pools)
    assert pools > 0
    assert "grouped-boxes" not in alone.rewrites
    assert sorted(file.name for file in (bundle.path / "generator").glob("*int8*.data")) == ["taps9-int8.data"]
    with Translator(bundle.path, backend="openvino", precision="int8") as translator:
        assert translator.variant.file == both.file


def test_where_nothing_has_bf16_int8_is_written_beside_float32(small_checkpoint, tmp_path, images, monkeypatch):
    monkeypatch.setattr(judge, "lacks", lambda _: "an old processor has no bfloat16 instructions")
    lines: list[str] = []
    options = replace(asked(images, min_psnr=20), backends=("openvino",), precision=("fp32", "int8"))
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lines.append)
    assert [v.rest for v in bundle.manifest.variants if v.precision == "int8"] == [None]
    assert any("int8 with bf16 beside it is left out" in line and "an old processor" in line for line in lines)


def test_a_bundle_with_bf16_beside_int8_runs_in_int8_without_it(small_checkpoint, tmp_path, images, monkeypatch):
    options = replace(asked(images, min_psnr=20), backends=("openvino",), precision=("fp32", "int8"))
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)
    monkeypatch.setattr(openvino, "lacks", lambda *kinds: "it has none" if "bf16" in kinds else None)
    with Translator(bundle.path, backend="openvino", precision="int8") as translator:
        assert translator.variant.arithmetic == "int8"
        assert translator(np.zeros((1, 32, 32, 3), np.uint8), translator.style(domain=0, seed=1)).any()


def test_norms_whose_means_are_taken_by_tiles_keep_float32_beside_int8(small_checkpoint, tmp_path, images, monkeypatch):
    monkeypatch.setattr(wide_norms, "WIDE", 16)  # as if the network were trained at sixteen times its size
    options = replace(asked(images, min_psnr=20), backends=("openvino",), precision=("fp32", "int8"))
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lambda _: None)
    assert [v.rest for v in bundle.manifest.variants if v.precision == "int8"] == [None]


def test_below_the_gate_nothing_is_written_and_the_layers_to_blame_are_named(small_checkpoint, tmp_path, images):
    target = tmp_path / "bundles" / "model"
    with pytest.raises(ParityError, match=r"(bf16|int8) translations are only within .* lower --min-psnr"):
        export_bundle(small_checkpoint, target, asked(images, min_psnr=99), lambda _: None)
    assert not target.parent.exists()


def test_int8_without_images_says_how_to_give_some(small_checkpoint, tmp_path):
    with pytest.raises(OptionError, match="give a folder of them with --calibrate DIR"):
        export_bundle(small_checkpoint, tmp_path / "model", asked(None), lambda _: None)
