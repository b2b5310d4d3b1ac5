"""StyleGAN2 in export: its bundles give the original programs' images, at every size and with every kind of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from stylegan2_oracles import LUKAU2357, ROSINALITY, load, lukau2357_model, numbers

from starcast.errors import OptionError
from starcast.export.families.stylegan2 import StyleGAN2
from starcast.export.families.stylegan2_graph import FrameGenerator
from starcast.export.gate.candidates import NcnnCandidate, OnnxCandidate
from starcast.export.gate.parity import check_generator, expected_translations, make_trials
from starcast.export.graphs.files import write_graph
from starcast.export.inspect import facts_of, lines_of
from starcast.export.options import ExportOptions
from starcast.export.plan import PREFERRED
from starcast.export.precision.samples import generated_set
from starcast.export.targets.ncnn import write_ncnn
from starcast.export.targets.onnx import make_float32
from starcast.export.trace import trace_frame
from starcast.export.write import export_bundle
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.numpy_graph import open_in_numpy
from starcast.runtime.engines.openvino import lacks
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.nvidia.tensorrt.build import build_engines
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.translator import Translator
from starcast.train.families.stylegan2.networks import StyleGAN2Config, mean_of_styles, random_networks
from starcast.train.families.stylegan2.rosinality import read_rosinality
from starcast.train.families.stylegan2.samples import mean_latents

ORACLES = {"rosinality": ROSINALITY, "lukau2357": LUKAU2357}
ENGINE_NAMES = tuple(name for name in ("openvino", "onnxruntime", "ncnn") if ENGINES[name].absent() is None)
ALONE = EngineOptions(threads=1)
LAYERS = 8


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Both layouts' oracles, exported as a user would. Do not write into them."""
    folder = tmp_path_factory.mktemp("bundles")
    options = ExportOptions(backends=ENGINE_NAMES, precision=("fp32", "bf16"))
    lukau2357 = lukau2357_model(tmp_path_factory.mktemp("lukau2357") / "model") / "checkpoint_2"
    for layout, checkpoint in (("rosinality", ROSINALITY / "000000.pt"), ("lukau2357", lukau2357)):
        export_bundle(checkpoint, folder / layout, options, lambda _: None)
    return {layout: open_bundle(folder / layout) for layout in ORACLES}


def run(bundle: Bundle, engine: str, styles: Any, noise: dict[str, Any]) -> NDArray[np.uint8]:
    """The images of a bundle's variant in an engine."""
    variant = next(variant for variant in bundle.manifest.variants if engine in variant.engines)
    condition = np.asarray(styles)
    if variant.condition == "gamma_beta":
        assert bundle.manifest.condition.product is not None
        product = ENGINES["onnxruntime"].open(Graph(bundle.path / bundle.manifest.condition.product.graph), ALONE)
        condition = product.run({"style": condition})
        product.close()
    weights = tuple(bundle.path / name for name in variant.weights)
    session = ENGINES[engine].open(Graph(bundle.path / variant.file, weights=weights), ALONE)
    try:
        return session.run({variant.condition: condition, **{name: np.asarray(plane) for name, plane in noise.items()}})
    finally:
        session.close()


def constants(bundle: Bundle) -> dict[str, NDArray[np.float32]]:
    with np.load(bundle.path / "noise.npz") as arrays:
        return dict(arrays)


def by_layer(style: Any) -> NDArray[np.float32]:
    """Styles [N, S] for every layer, [N, layers, S]."""
    return np.repeat(np.asarray(style, np.float32)[:, None], LAYERS, axis=1)


def assert_same_bytes(images: NDArray[np.uint8], unrounded: Any) -> None:
    """Within 1 level, and at most 1 % of the bytes, as the oracles' README allows."""
    right = np.clip(np.rint((np.asarray(unrounded, np.float64) + 1) * 127.5), 0, 255).transpose(0, 2, 3, 1)
    apart = np.abs(images.astype(int) - right.astype(int))
    assert apart.max() <= 1
    assert (apart > 0).mean() <= 0.01


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_a_bundle_gives_rosinalitys_images(bundles: dict[str, Bundle], engine: str) -> None:
    oracle, bundle = numbers(ROSINALITY), bundles["rosinality"]
    style, noise = oracle["w"], constants(bundle)
    pulled = oracle["latent_avg"] + 0.7 * (style - oracle["latent_avg"])
    external = {f"noise_{number}": oracle[f"noise_{number}"] for number in range(7)}
    assert_same_bytes(run(bundle, engine, by_layer(style), noise), oracle["image"])
    assert_same_bytes(run(bundle, engine, by_layer(pulled), noise), oracle["image_trunc07"])
    assert_same_bytes(run(bundle, engine, by_layer(style), external), oracle["image_external_noise"])


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_a_bundle_gives_lukau2357s_images(bundles: dict[str, Bundle], engine: str) -> None:
    oracle, bundle = numbers(LUKAU2357), bundles["lukau2357"]
    # the original takes the first image's noise at 4x4 for all: here one input serves the batch, the others each image
    planes = [oracle["noise_4x4"][:1], *(oracle[f"noise_{side}_{half}"] for side in (8, 16, 32) for half in "ab")]
    noise = {f"noise_{number}": plane for number, plane in enumerate(planes)}
    assert_same_bytes(run(bundle, engine, by_layer(oracle["w"]), noise), oracle["image"])
    assert_same_bytes(run(bundle, engine, by_layer(oracle["w_trunc07"]), noise), oracle["image_trunc07"])


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_a_translator_gives_the_originals_images_of_latents(bundles: dict[str, Bundle], engine: str) -> None:
    oracle = numbers(ROSINALITY)
    with Translator(bundles["rosinality"], backend=engine, threads=1) as translator:
        style, other = (translator.style(latent=oracle[name].numpy()) for name in ("z", "z2"))
        assert_same_bytes(translator.generate(style), oracle["image"])
        mean = oracle["latent_avg"].numpy()  # the converted file's; this file, a training checkpoint, has none
        assert_same_bytes(translator.generate(mean + 0.7 * (style - mean)), oracle["image_trunc07"])
        mixed = np.concatenate([style[:, :3], other[:, 3:]], axis=1)
        assert_same_bytes(translator.generate(mixed), oracle["image_mixed_inject3"])
        noise = [oracle[f"noise_{number}"].numpy() for number in range(7)]
        assert_same_bytes(translator.generate(style, noise), oracle["image_external_noise"])
    oracle = numbers(LUKAU2357)
    planes = [oracle["noise_4x4"][:1], *(oracle[f"noise_{side}_{half}"] for side in (8, 16, 32) for half in "ab")]
    noise = [plane.numpy() for plane in planes]
    with Translator(bundles["lukau2357"], backend=engine, threads=1) as translator:
        for psi, name in ((1.0, "image"), (0.7, "image_trunc07")):
            styles = translator.style(latent=oracle["z"].numpy(), psi=psi)
            assert_same_bytes(translator.generate(styles, noise), oracle[name])


@pytest.mark.parametrize("layout", ORACLES)
def test_its_mapping_gives_the_originals_styles_and_layers_mix(bundles: dict[str, Bundle], layout: str) -> None:
    oracle, bundle = numbers(ORACLES[layout]), bundles[layout]
    mapping = ENGINES["onnxruntime"].open(Graph(bundle.path / "mapping.onnx"), EngineOptions(threads=1))
    style = mapping.run({"latent": oracle["z"].numpy()})
    np.testing.assert_allclose(style, oracle["w"], atol=1e-4)
    if layout == "rosinality":
        other = mapping.run({"latent": oracle["z2"].numpy()})
        mixed = np.where(np.arange(LAYERS)[:, None] < 3, by_layer(style), by_layer(other))
        assert_same_bytes(run(bundle, "onnxruntime", mixed, constants(bundle)), oracle["image_mixed_inject3"])
    mapping.close()


def test_the_manifest_says_what_the_graphs_take_and_give(bundles: dict[str, Bundle]) -> None:
    for bundle in bundles.values():
        manifest = bundle.manifest
        assert (manifest.source, manifest.domains) == (None, ())
        assert manifest.output is not None
        assert (manifest.output.channels, manifest.output.height, manifest.output.width) == (3, 32, 32)
        assert manifest.condition.shape == (LAYERS, 32)
        assert manifest.noise is not None
        assert [noise.height for noise in manifest.noise.inputs] == [4, 8, 8, 16, 16, 32, 32]
        graph = ir.load(bundle.path / manifest.variants[0].file).graph
        assert [value.name for value in graph.inputs] == ["style", *(f"noise_{number}" for number in range(7))]
        assert {name: plane.shape for name, plane in constants(bundle).items()} == {
            noise.name: (1, 1, noise.height, noise.width) for noise in manifest.noise.inputs
        }
        variant = manifest.variants[0]
        assert set(variant.engines) == set(ENGINE_NAMES) - {"ncnn"}
        assert variant.max_batch is None
        assert variant.rewrites["activation-gains"] == 7
    variant = bundles["lukau2357"].manifest.variants[0]
    assert variant.rewrites["interpolated-9"] == 1  # from 16x16 to 32x32; smaller maps are mostly border


def test_a_bundle_has_a_preview_a_card_and_the_next_command(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["lukau2357"]
    with Image.open(bundle.path / "preview.jpg") as preview:
        assert preview.size == (4 * 132 + 4, 2 * 132 + 4)
    card = (bundle.path / "README.md").read_text()
    assert "generates images of 32x32 pixels" in card
    assert "The generator has 63,707 parameters" in card  # the original counts its filter's 16 numbers too
    assert "starcast generate lukau2357 --seeds 0-15" in card
    assert "domain" not in card
    text = "\n".join(lines_of(facts_of(bundle.path)))
    assert "domains" not in text
    assert text.endswith("--seeds 0-15 -o OUT")


def test_the_mean_style_is_the_files_or_that_of_latents() -> None:
    content = load(ROSINALITY / "000000.pt")
    raw = read_rosinality(Path("000000.pt"), content)
    converted = read_rosinality(Path("c.pt"), {"g_ema": content["g_ema"], "latent_avg": torch.arange(32.0)[None]})
    from_file, from_latents = (StyleGAN2(_networks(checkpoint), checkpoint.config) for checkpoint in (converted, raw))
    np.testing.assert_array_equal(from_file.mean_styles(None), np.arange(32, dtype=np.float32)[None])
    assert from_file.condition(None).mean_draws is None
    assert from_latents.condition(None).mean_draws == 4096  # as its own tools take
    mapping = from_latents.networks.mapping_network
    for asked, count in ((None, 4096), (50, 50)):
        expected = mean_of_styles(mapping, mean_latents(count, 32))[None]
        np.testing.assert_array_equal(from_latents.mean_styles(asked), expected)
    assert from_file.condition(50).mean_draws == 50


def _networks(checkpoint: Any) -> Any:
    from starcast.train.checkpoint.file import averaged_networks

    return averaged_networks(checkpoint)


ODD = {
    "grey 8 px, bounded, interpolated with three taps": StyleGAN2Config(
        image_size=8, channels=1, latent_dim=5, mapping_depth=1, widths=(3, 2), resampling="bilinear", tanh=True,
        fir_filter=(1.0, 2.0, 1.0),
    ),
    "RGBA 16 px, transposed with five taps": StyleGAN2Config(
        image_size=16, channels=4, latent_dim=3, mapping_depth=1, widths=(2, 5, 3), fir_filter=(1.0, 4.0, 6.0, 4.0, 1.0)
    ),
}  # fmt: skip

MORE_ODD = {
    "RGB 32 px, interpolated with seven taps": StyleGAN2Config(
        image_size=32, latent_dim=4, mapping_depth=1, widths=(3, 9, 4, 16), resampling="bilinear",
        fir_filter=(1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0),
    ),
    "RGB 16 px, transposed with two taps, one channel at the end": StyleGAN2Config(
        image_size=16, latent_dim=4, mapping_depth=1, widths=(8, 16, 1), fir_filter=(1.0, 1.0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("config", [*ODD.values(), *MORE_ODD.values()], ids=[*ODD, *MORE_ODD])
def test_ncnn_makes_what_pytorch_makes_of_odd_networks(config: StyleGAN2Config, tmp_path: Path) -> None:
    if ENGINES["ncnn"].absent() is not None:
        pytest.skip("ncnn is not installed")
    model = StyleGAN2(random_networks(config), config)
    graph = make_float32(trace_frame(model), PREFERRED["ncnn"], config.image_size)
    assert graph.product is not None
    write_graph(graph.product, tmp_path / "product.onnx", {})
    weights = write_ncnn(graph.frame, tmp_path / "frame.param")
    candidate = NcnnCandidate(tmp_path / "frame.param", weights, tmp_path / "product.onnx")
    trials = make_trials(model)
    parity = check_generator(
        candidate, "ncnn", trials, expected_translations(model.reference, trials), lambda _: "a layer"
    )  # fmt: skip
    assert parity.batches == (1, 2, 3)
    assert candidate.translate(trials[2]).shape == (3, config.image_size, config.image_size, config.channels)


def test_what_ncnn_runs_is_in_the_bundle_with_the_graph_of_its_scales(bundles: dict[str, Bundle]) -> None:
    if "ncnn" not in ENGINE_NAMES:
        pytest.skip("ncnn is not installed")
    for bundle in bundles.values():
        [variant] = [variant for variant in bundle.manifest.variants if "ncnn" in variant.engines]
        assert variant.condition == "gamma_beta"
        assert variant.parity is not None
        assert variant.parity.worst < 5e-5
        assert bundle.manifest.condition.product is not None
        others = [other for other in bundle.manifest.variants if other.precision == "fp32" and other != variant]
        assert {other.condition for other in others} == {"style"}
        assert variant.flop == others[0].flop
        # so that no second engine is needed
        assert open_in_numpy(bundle.path / bundle.manifest.condition.product.graph) is not None


@pytest.mark.parametrize("config", ODD.values(), ids=ODD)
def test_other_sizes_widths_colours_and_filters_pass_the_gate(config: StyleGAN2Config) -> None:
    model = StyleGAN2(random_networks(config), config)
    trials = make_trials(model)
    assert [trial.batch for trial in trials] == [1, 2, 3]
    candidate = OnnxCandidate(trace_frame(model))
    check_generator(candidate, "plain", trials, expected_translations(model.reference, trials), lambda _: "a layer")
    assert candidate.translate(trials[2]).shape == (3, config.image_size, config.image_size, config.channels)


@pytest.mark.parametrize("resampling", ["transposed", "bilinear"])
@pytest.mark.parametrize(("size", "taps"), [(8, 2), (8, 3), (8, 5), (32, 7), (64, 4), (512, 4)])
def test_the_traced_network_is_the_trained_one(resampling: str, size: int, taps: int) -> None:
    sizes = size.bit_length() - 2
    config = StyleGAN2Config(
        image_size=size, latent_dim=4, mapping_depth=1, widths=(3,) * (sizes - 1) + (1,), resampling=resampling,
        fir_filter=tuple(float(1 + min(tap, taps - 1 - tap)) for tap in range(taps)), tanh=taps % 2 == 0,
    )  # fmt: skip
    generator = random_networks(config, seed=taps).generator
    styles, noise = torch.randn(2, config.layers, 4), [torch.randn(2, 1, side, side) for side in config.noise_sides]
    with torch.inference_mode():
        torch.testing.assert_close(
            FrameGenerator(generator)(styles, *noise), generator(styles, noise), rtol=1e-4, atol=1e-4
        )


def test_the_gate_tries_truncated_and_mixed_styles_and_every_kind_of_noise() -> None:
    config = ODD["RGBA 16 px, transposed with five taps"]
    model = StyleGAN2(random_networks(config), config)
    styles = model.gate_styles(9)
    assert styles.shape == (9, config.layers, 3)
    mixed = [len(np.unique(style, axis=0)) for style in styles]
    assert mixed == [1, 1, 2] * 3
    assert {int((style[1:] != style[:-1]).any(axis=1).argmax()) for style in styles[2::3]} == {2, 0, 3}
    mean = model.mean_styles(None)
    assert (np.linalg.norm(styles[1::3, 0] - mean, axis=1) < np.linalg.norm(styles[::3, 0] - mean, axis=1)).sum() >= 2
    constant, drawn, none = (trial.extra for trial in make_trials(model))
    assert all((constant[name] == model.noise[name]).all() for name in model.noise)
    assert all(len(plane) == 2 and np.ptp(plane[0] - plane[1]) > 0 for plane in drawn.values())
    assert not any(plane.any() for plane in none.values())


def test_smaller_precisions_are_calibrated_and_judged_by_mixed_styles_and_every_kind_of_noise() -> None:
    config = ODD["RGBA 16 px, transposed with five taps"]
    model = StyleGAN2(random_networks(config), config)
    images = generated_set(model)
    for trials, count in ((images.ranges, 64), (images.search, 16), (images.gate["images"], 16)):
        assert len(trials) == count
        mixed = [len(np.unique(trial.styles[0], axis=0)) > 1 for trial in trials]
        assert sum(mixed) == count // 3
        constant = [all((trial.extra[name] == model.noise[name]).all() for name in model.noise) for trial in trials]
        zero = [not any(plane.any() for plane in trial.extra.values()) for trial in trials]
        assert (sum(constant), sum(zero)) == (count // 4, count // 4)
        assert any(one and other for one, other in zip(mixed, constant, strict=True))


@pytest.mark.skipif(lacks("bf16") is not None, reason="this CPU has no bfloat16 instructions")
def test_bf16_is_judged_by_drawn_styles_and_noise(bundles: dict[str, Bundle]) -> None:
    for bundle in bundles.values():
        [variant] = [variant for variant in bundle.manifest.variants if variant.precision == "bf16"]
        assert variant.engines == ("openvino",)
        assert variant.quality is not None
        assert variant.quality.domains["images"].images == 16
        assert variant.quality.domains["images"].psnr_mean >= 40


def test_tensorrts_graphs_pass_their_gates_and_compile_without_a_gpu(tmp_path: Path) -> None:
    options = ExportOptions(
        backends=("tensorrt",), precision=("fp32", "fp16", "int8", "fp8"), adain=("fused", "plugin"), min_psnr=28
    )
    lines: list[str] = []
    bundle = export_bundle(ROSINALITY / "000000.pt", tmp_path / "b", options, lines.append)
    variants = {variant.precision: variant for variant in bundle.manifest.variants}
    assert len(variants) == len(bundle.manifest.variants) == 4  # without norms there is one way to write them
    for name, variant in variants.items():
        assert (variant.file, variant.engines) == (f"generator/taps16-fused-{name}.onnx", ("tensorrt", "tensorrt-rtx"))
        assert variant.norms == ()
        nodes = ir.load(bundle.path / variant.file).graph
        assert any(node.op_type == "QuantizeLinear" for node in nodes) == (name in ("int8", "fp8"))
        assert not any(node.op_type == "Gemm" for node in nodes)
    assert variants["fp16"].quality is not None
    assert variants["fp16"].quality.domains["images"].psnr_worst > 50
    pytest.importorskip("tensorrt_rtx")
    report = build_engines(
        bundle.path, BuildOptions(gpu=("sm89",), precision="int8"), progress=lines.append, folder=tmp_path / "cache"
    )
    assert report.failed == ()
    assert [facts.spec.role for facts in report.engines] == [variants["int8"].file, "mapping.onnx"]
    assert report.engines[0].megabytes is not None


@pytest.mark.parametrize("option", [{"domains": ("faces",)}, {"attributes": ("Young",)}, {"calibrate": Path("photos")}])
def test_options_for_domains_and_sources_are_refused(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="has neither domains nor sources: leave it out"):
        export_bundle(ROSINALITY / "000000.pt", tmp_path / "b", ExportOptions(**option), lambda _: None)
    assert not (tmp_path / "b").exists()
