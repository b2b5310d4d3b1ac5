from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray
from PIL import Image

from starcast.errors import BundleError, OptionError, ParityError
from starcast.export import source
from starcast.export.gate.judge import Judge
from starcast.export.gate.parity import DifferenceError
from starcast.export.gate.quality import Verdict
from starcast.export.options import ExportOptions
from starcast.export.passes.forms import REWRITES
from starcast.export.plan import FrameGraph, usual_engines
from starcast.export.store import Stored
from starcast.export.write import export_bundle
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.openvino import lacks
from starcast.runtime.engines.registry import ENGINES

Run = Callable[[Path, dict[str, NDArray[Any]]], NDArray[Any]]
FEW = ExportOptions(mean_draws=10)


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def in_onnxruntime(graph: Path, feeds: dict[str, NDArray[Any]]) -> NDArray[Any]:
    result: NDArray[Any] = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
    return result


def in_openvino(graph: Path, feeds: dict[str, NDArray[Any]]) -> NDArray[Any]:
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    result: NDArray[Any] = openvino.Core().compile_model(graph, "CPU", exact)(feeds)[0]
    return result


@pytest.fixture(params=[in_onnxruntime, in_openvino], ids=["onnxruntime", "openvino"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a graph in one engine after the other."""
    engine: Run = request.param
    return engine


def relative(got: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected))))


@pytest.mark.parametrize("mode", ["latent", "reference"])
def test_translations_are_the_official_programs_within_one_grey_level(
    run: Run, oracle_bundle: Bundle, oracle: Any, mode: str
) -> None:
    if mode == "latent":
        style = run(oracle_bundle.file("mapping.onnx"), {"latent": oracle["z"], "domain": oracle["y_trg"]})
        expected_style, expected = oracle["s_latent"], oracle["g_latent_u8"]
    else:
        feeds = {"image": oracle["ref_u8"], "domain": oracle["y_trg"]}
        style = run(oracle_bundle.file("style_encoder.onnx"), feeds)
        expected_style, expected = oracle["s_ref"], oracle["g_reference_u8"]
    assert relative(style, expected_style) <= 1e-4
    gamma_beta = run(oracle_bundle.file("style_product.onnx"), {"style": style})
    for variant in oracle_bundle.manifest.variants:
        if "ncnn" in variant.engines:
            continue  # tests/export/targets/test_ncnn.py
        parts = [slice(k, k + 1) for k in range(len(style))] if variant.one_style else [slice(None)]
        graph = oracle_bundle.graph(variant.file)[0]
        translation = np.concatenate(
            [run(graph, {"image": oracle["image_u8"][part], "gamma_beta": gamma_beta[part]}) for part in parts]
        )
        assert np.abs(translation.astype(int) - expected.astype(int)).max() <= 1


def test_the_manifest_describes_the_networks_by_their_roles(oracle_bundle: Bundle) -> None:
    manifest = oracle_bundle.manifest
    assert manifest.source is not None
    assert (manifest.source.height, manifest.source.width, manifest.source.stride) == (256, 256, 16)
    assert manifest.condition.size == 16
    assert manifest.condition.latent is not None
    assert manifest.condition.latent.size == 8
    assert manifest.condition.reference is not None
    assert manifest.condition.reference.height == 256
    assert manifest.domains == ("cat", "dog", "wild")
    assert {name for variant in manifest.variants for name in variant.engines} >= {"onnxruntime", "openvino"}
    for variant in manifest.variants:
        assert (variant.form, variant.precision, variant.condition) == ("taps9", "fp32", "gamma_beta")
        assert variant.parity.worst <= 2e-4
        assert variant.rewrites["pooled-9"] > 0
        weights = (oracle_bundle.path / "generator/weights.data").stat().st_size
        assert 0 < variant.bytes - (oracle_bundle.path / variant.file).stat().st_size < 1.1 * weights


def test_the_manifest_says_where_the_bundle_comes_from(oracle_bundle: Bundle, oracle_checkpoint: Path) -> None:
    origin = oracle_bundle.manifest.provenance
    assert (origin.family, origin.layout) == ("stargan_v2", "official")
    assert origin.checkpoint == oracle_checkpoint.name
    assert len(origin.checkpoint_sha256) == 64
    assert origin.created.endswith("+00:00")


def test_every_file_of_a_bundle_is_listed_with_its_hash(oracle_bundle: Bundle) -> None:
    present = {path.relative_to(oracle_bundle.path).as_posix() for path in oracle_bundle.path.rglob("*.*")}
    assert present == {"manifest.json", *oracle_bundle.manifest.files}
    for name in oracle_bundle.manifest.files:
        assert oracle_bundle.file(name).is_file()


def test_mean_styles_are_stored_for_every_domain(oracle_bundle: Bundle) -> None:
    with np.load(oracle_bundle.path / "styles.npz", allow_pickle=False) as styles:
        assert styles["mean"].shape == (3, 16)
        assert styles["mean"].dtype == np.float32


def test_the_preview_is_an_image(oracle_bundle: Bundle) -> None:
    with Image.open(oracle_bundle.path / "preview.jpg") as preview:
        preview.load()
        assert preview.mode == "RGB"


def test_graphs_carry_facts_about_themselves(oracle_bundle: Bundle) -> None:
    model = ir.load(oracle_bundle.path / "generator/taps9-fp32.onnx")
    facts = model.metadata_props
    assert model.producer_name == "starcast"
    assert json.loads(facts["domains"]) == ["cat", "dog", "wild"]
    assert facts["image_size"] == "256"
    assert facts["checkpoint_sha256"] == oracle_bundle.manifest.provenance.checkpoint_sha256


def test_our_checkpoints_keep_names_options_and_data_set(small_checkpoint: Path, tmp_path: Path) -> None:
    manifest = export_bundle(small_checkpoint, tmp_path / "model", FEW, quiet).manifest
    assert manifest.domains == ("ink", "photo", "chalk")
    assert manifest.provenance.dataset == "drawings"
    assert manifest.provenance.options == {"image_size": 32}
    assert manifest.provenance.step == 20
    assert str(tmp_path) not in (tmp_path / "model/manifest.json").read_text(encoding="utf-8")


def test_progress_gives_the_figures(small_checkpoint: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    export_bundle(small_checkpoint, tmp_path / "model", FEW, lines.append)
    assert any("generator" in line and "bytes within" in line and "batches of 1, 2, 5, 3" in line for line in lines)


def test_an_old_bundle_is_replaced(small_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundles" / "model"
    first = export_bundle(small_checkpoint, target, FEW, quiet)
    second = export_bundle(small_checkpoint, target, ExportOptions(mean_draws=11), quiet)
    assert (first.manifest.condition.mean_draws, second.manifest.condition.mean_draws) == (10, 11)
    assert open_bundle(target).sha256 == second.sha256
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_graphs_are_the_same_bytes_each_time(small_checkpoint: Path, tmp_path: Path) -> None:
    one, two = (export_bundle(small_checkpoint, tmp_path / name, FEW, quiet).manifest.files for name in ("a", "b"))
    assert {name: one[name] for name in one if name != "README.md"} == {
        name: two[name] for name in two if name != "README.md"
    }


def test_a_graph_with_one_wrong_weight_is_not_written(
    small: Any, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> ir.Model:
        model = ir.load(small.generator)
        weight = model.graph.initializers["decode.0.conv1.weight"]
        numbers = weight.const_value.numpy().copy()
        numbers.flat[0] += 1
        weight.const_value = ir.tensor(numbers, name="decode.0.conv1.weight")
        return model

    monkeypatch.setattr(source, "trace_frame", broken)
    target = tmp_path / "bundles" / "model"
    with pytest.raises(ParityError, match=r"first at the layer decode\.0\.conv1: nothing is written"):
        export_bundle(small_checkpoint, target, FEW, quiet)
    assert not target.parent.exists()


@pytest.mark.parametrize("stage", ["traced", "compared", "mean style", "preview"])
def test_an_interrupted_export_leaves_the_old_bundle(small_checkpoint: Path, tmp_path: Path, stage: str) -> None:
    target = tmp_path / "bundles" / "model"
    old = export_bundle(small_checkpoint, target, FEW, quiet)

    def stop(line: str) -> None:
        if stage in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(small_checkpoint, target, ExportOptions(mean_draws=11), stop)
    assert open_bundle(target).sha256 == old.sha256
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_someone_elses_folder_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"notes\.txt"):
        export_bundle(tmp_path / "missing.ckpt", tmp_path, FEW, quiet)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "b"), ("a", "b", "c", "d")])
def test_every_domain_needs_its_own_name(small_checkpoint: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(OptionError, match=r"has 3 domains: give each its own name"):
        export_bundle(small_checkpoint, tmp_path / "model", ExportOptions(domains=names), quiet)


@pytest.mark.parametrize("name", REWRITES)
def test_every_engine_gets_a_right_graph_whichever_rewrite_is_left_out(
    small_checkpoint: Path, tmp_path: Path, name: str
) -> None:
    options = ExportOptions(mean_draws=10, without=(name,))
    variants = export_bundle(small_checkpoint, tmp_path / "model", options, quiet).manifest.variants
    made_for = {backend for variant in variants for backend in variant.engines}
    assert made_for >= {"openvino", "onnxruntime"}
    assert ("ncnn" in made_for) == (ENGINES["ncnn"].absent() is None)
    assert all(name not in variant.rewrites and variant.parity is not None for variant in variants)


def test_a_report_tells_each_forms_rewrites_once(small_checkpoint: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    export_bundle(small_checkpoint, tmp_path / "model", FEW, lines.append)
    forms = [line for line in lines if line.startswith("form ")]
    assert forms == ["form taps9", *(["form taps9 for ncnn"] if "ncnn" in usual_engines() else [])]
    assert sum("residual-scale" in line for line in lines) == len(forms)


@pytest.fixture
def inexact(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function (engines): these engines' float32 graphs differ from PyTorch."""

    def make(*engines: str) -> None:
        judge = Judge.judge

        def refuse(self: Judge, graph: FrameGraph, stored: Stored) -> Verdict:
            if set(graph.plan.engines) & set(engines) and graph.plan.precision == "fp32":
                raise DifferenceError(f"the graph for {graph.plan.engines[0]} is off")
            return judge(self, graph, stored)

        monkeypatch.setattr(Judge, "judge", refuse)

    return make


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "ncnn"])
def test_an_engine_that_differs_from_pytorch_is_left_out_with_a_line(
    small_checkpoint: Path, tmp_path: Path, inexact: Callable[..., None], engine: str
) -> None:
    if engine not in usual_engines():
        pytest.skip(f"{engine} is not installed")
    inexact(engine)
    lines: list[str] = []
    bundle = export_bundle(small_checkpoint, tmp_path / "model", FEW, lines.append)
    assert f"{engine} is left out: the graph for {engine} is off" in lines
    made_for = {name for variant in bundle.manifest.variants for name in variant.engines} & set(usual_engines())
    assert made_for == set(usual_engines()) - {engine}
    graphs = {path.name for path in (bundle.path / "generator").iterdir()}
    listed = {Path(name).name for v in bundle.manifest.variants for name in (v.file, *v.weights)}
    assert graphs == listed  # nothing of what was left out is in the bundle


def test_its_smaller_precisions_are_left_out_too(
    small_checkpoint: Path, tmp_path: Path, inexact: Callable[..., None]
) -> None:
    inexact("openvino")
    lines: list[str] = []
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    options = ExportOptions(mean_draws=10, precision=("fp32", "bf16"), min_psnr=5)
    bundle = export_bundle(small_checkpoint, tmp_path / "model", options, lines.append)
    assert all("openvino" not in variant.engines for variant in bundle.manifest.variants)
    if lacks("bf16") is None:
        assert "taps9-bf16 is left out, too" in lines


def test_an_engine_that_was_asked_for_or_is_the_last_one_stops_the_export(
    small_checkpoint: Path, tmp_path: Path, inexact: Callable[..., None]
) -> None:
    inexact("openvino")
    for options in (ExportOptions(mean_draws=10, backends=("openvino", "onnxruntime")), FEW):
        if options is FEW:
            inexact("onnxruntime", "ncnn")
        with pytest.raises(ParityError, match="the graph for openvino is off: nothing is written; please report this"):
            export_bundle(small_checkpoint, tmp_path / "model", options, quiet)
        assert not (tmp_path / "model").exists()
