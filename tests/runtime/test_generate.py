"""Images from styles alone: `Translator.generate`, and the styles and noise that it takes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_generator import CONSTANTS, FROM_LATENT, LATENT, LAYERS, MEAN, STYLE, TinyGenerator, write_generator_bundle

from starcast.errors import BundleError, EngineError, StyleError
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines import registry
from starcast.runtime.style_layers import mix
from starcast.runtime.translator import Translator

ENGINES = ("openvino", "onnxruntime")
MODEL = TinyGenerator()
GREYS = [np.zeros((1, 1, height, width), np.float32) for height, width in MODEL.noise_sides]


@pytest.fixture(scope="module", params=ENGINES)
def generator(request, generator_bundle):
    reason = registry.ENGINES[request.param].absent()
    if reason is not None:
        pytest.skip(f"{request.param} is {reason}")
    with Translator(generator_bundle, backend=request.param, threads=1) as opened:
        yield opened


@pytest.fixture
def changed(tmp_path, generator_bundle, rewrite_manifest):
    """A function (**changes) -> a Translator of a copy of the bundle with these manifest fields."""

    def change(**changes: object) -> Translator:
        bundle = Path(shutil.copytree(generator_bundle, tmp_path / "bundle"))
        rewrite_manifest(bundle, **changes)
        return Translator(bundle, backend="onnxruntime", threads=1)

    return change


def _latent(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(LATENT).astype(np.float32)


def _noise(seed: int, images: int) -> list[np.ndarray]:
    """Noise by a plain reading of the rule: image after image, layer after layer, from one stream."""
    draws = np.random.RandomState([seed, 1])
    by_image = [[draws.standard_normal((1, h, w)) for h, w in MODEL.noise_sides] for _ in range(images)]
    return [np.stack(layer).astype(np.float32) for layer in zip(*by_image, strict=True)]


def _close(images: np.ndarray, expected: np.ndarray) -> bool:
    """Equal, except for one level where float32 and float64 round differently."""
    off = np.abs(images.astype(int) - expected.astype(int))
    return images.dtype == np.uint8 and images.shape == expected.shape and off.max() <= 1 and off.mean() < 0.01


def test_the_style_of_a_seed_is_its_latents_repeated_for_every_layer(generator):
    style = generator.style(seed=7)
    assert (style.dtype, style.shape) == (np.float32, (LAYERS, STYLE))
    np.testing.assert_allclose(style, np.tile(MODEL.style(_latent(7)[None]), (LAYERS, 1)), atol=1e-6)
    style[1:] = 0  # layers are copies: changing one leaves the others
    assert style[0].any()


def test_psi_moves_a_style_to_the_mean(generator):
    whole, half = generator.style(seed=7), generator.style(seed=7, psi=0.5)
    np.testing.assert_allclose(half, (whole + MEAN) / 2, atol=1e-6)
    np.testing.assert_array_equal(generator.style(seed=7, psi=0), np.tile(MEAN, (LAYERS, 1)))
    np.testing.assert_array_equal(generator.mean_style(), np.tile(MEAN, (LAYERS, 1)))


def test_a_latent_gives_the_style_of_its_seed_and_many_give_one_each(generator):
    np.testing.assert_array_equal(generator.style(latent=_latent(7), psi=0.7), generator.style(seed=7, psi=0.7))
    styles = generator.style(latent=np.stack([_latent(seed) for seed in range(1, 4)]))
    assert styles.shape == (3, LAYERS, STYLE)
    for seed, style in enumerate(styles, 1):
        np.testing.assert_allclose(style, generator.style(seed=seed), atol=1e-6)
    assert generator.style(latent=np.zeros((1, LATENT))).shape == (1, LAYERS, STYLE)
    assert generator.style(latent=np.zeros((2500, LATENT))).shape == (2500, LAYERS, STYLE)


def test_a_family_with_domains_takes_latents_too(tiny_bundle):
    with Translator(tiny_bundle, backend="onnxruntime", threads=1) as translator:
        latents = np.stack([_latent(1), _latent(2)])
        styles = translator.style(domain="dog", latent=latents, psi=0.5)
        assert styles.shape == (2, 8)
        np.testing.assert_allclose(styles[1], translator.style(domain="dog", seed=2, psi=0.5), atol=1e-6)
        np.testing.assert_array_equal(translator.style("dog", latent=latents[0]), translator.style("dog", seed=1))
        with pytest.raises(StyleError, match="say which domain"):
            translator.style(latent=latents)


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({}, "from a seed, a latent, a reference or labels: give one of them"),
    ({"seed": 1, "latent": np.zeros(LATENT)}, "give one of them"),
    ({"latent": np.zeros(LATENT + 1)}, r"the shape \[5\]: give \[4\] for one style, or \[N, 4\] for several"),
    ({"latent": np.zeros((2, 2, LATENT))}, r"the shape \[2, 2, 4\]"),
    ({"latent": np.zeros((0, LATENT))}, r"the shape \[0, 4\]"),
    ({"latent": np.array([1, 2, np.nan, 3])}, "not finite"),
    ({"latent": "seven"}, "not an array of numbers"),
    ({"seed": 1, "domain": "dog"}, "has no domains, only one kind of image: leave out the domain"),
    ({"reference": np.zeros((8, 8, 3), np.uint8)}, "makes no styles from references: give a seed"),
], ids=["nothing", "two ways", "length", "rank", "none", "not finite", "text", "domain", "reference"])  # fmt: skip
def test_what_gives_no_style_is_one_sentence(generator, arguments, sentence):
    with pytest.raises(StyleError, match=sentence):
        generator.style(**arguments)


def test_images_are_what_the_styles_and_the_checkpoints_noise_make(generator):
    styles = np.stack([generator.style(seed=seed) for seed in range(5)])
    images = generator.generate(styles)
    assert _close(images, MODEL.images(styles, MODEL.constants))
    assert generator.size == (16, 16)


def test_styles_in_every_shape_give_the_images_of_their_layers(generator):
    styles = np.stack([generator.style(seed=seed) for seed in range(3)])
    images = generator.generate(styles)
    np.testing.assert_array_equal(generator.generate(styles[1]), images[1:2])
    np.testing.assert_array_equal(generator.generate(styles[1, 0]), images[1:2])
    np.testing.assert_array_equal(generator.generate(styles[:, 0]), images)
    np.testing.assert_array_equal(generator.generate(styles.tolist()), images)
    # as many rows as layers: one image, whose layers differ
    rows = np.stack([generator.style(seed=seed)[0] for seed in range(LAYERS)])
    assert _close(generator.generate(rows), MODEL.images(rows[None], MODEL.constants))
    assert generator.generate(np.empty((0, LAYERS, STYLE))).shape == (0, 16, 16, 3)


def test_rows_of_another_style_mix_the_two(generator):
    coarse, fine = generator.style(seed=3), generator.style(seed=7)
    mixed = mix(coarse, fine, 1)
    np.testing.assert_array_equal(mixed, [coarse[0], *fine[1:]])
    assert _close(generator.generate(mixed), MODEL.images(mixed[None], MODEL.constants))


def test_noise_may_be_zero_seeded_or_arrays(generator):
    styles = np.stack([generator.style(seed=seed) for seed in range(3)])
    assert _close(generator.generate(styles, "zero"), MODEL.images(styles, GREYS))
    assert _close(generator.generate(styles, 5), MODEL.images(styles, _noise(5, 3)))
    assert _close(generator.generate(styles, np.int64(5)), MODEL.images(styles, _noise(5, 3)))
    own, shared = _noise(8, 3), _noise(9, 1)
    assert _close(generator.generate(styles, own), MODEL.images(styles, own))
    assert _close(generator.generate(styles, [own[0], shared[1]]), MODEL.images(styles, [own[0], shared[1]]))
    np.testing.assert_array_equal(generator.generate(styles, MODEL.constants), generator.generate(styles))


def test_a_seed_gives_the_first_images_the_same_noise_in_any_batch(generator):
    style = generator.style(seed=1)
    five = generator.generate(np.stack([style] * 5), 5)
    assert len({image.tobytes() for image in five}) == 5
    np.testing.assert_array_equal(generator.generate(style, 5), five[:1])
    np.testing.assert_array_equal(generator.generate(np.stack([style] * 3), 5), five[:3])
    np.testing.assert_array_equal(generator.generate(np.stack([style] * 2), [7, 5])[1], five[0])


def test_without_the_checkpoints_noise_constant_is_always_the_same(tmp_path):
    bundle = write_generator_bundle(tmp_path / "bundle", constants=False)
    images = []
    for _ in range(2):
        with Translator(bundle, backend="onnxruntime", threads=1) as generator:
            style = generator.style(seed=1)
            images.append(generator.generate(np.stack([style, style])))
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[0][0], images[0][1])
    assert len(np.unique(images[0][0, ..., 0])) > 20  # it is noise, not a flat colour


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_rgba_images_have_their_channels(tmp_path, channels):
    model = TinyGenerator(channels=channels, height=8, width=12)
    with Translator(write_generator_bundle(tmp_path / "b", model), backend="onnxruntime", threads=1) as generator:
        style = generator.style(seed=2)
        images = generator.generate(style)
        assert images.shape == (1, 8, 12, channels)
        assert _close(images, model.images(style[None], model.constants))


def test_a_batch_is_split_where_memory_or_the_variant_demands_it(changed, generator_bundle, monkeypatch):
    from starcast.runtime.engines import session

    manifest = open_bundle(generator_bundle).manifest
    styles = np.random.default_rng(0).standard_normal((7, LAYERS, STYLE)).astype(np.float32)
    with Translator(generator_bundle, backend="onnxruntime", threads=1) as whole:
        expected = whole.generate(styles, 3)
        memory = whole._session._held + 2.5 * session.image_need(
            whole.bundle, whole._session.engine, whole.variant, 16, 16
        )
    one = msgspec.structs.replace(manifest.variants[0], max_batch=1)
    with changed(variants=(one,)) as generator:
        sizes = _count_batches(generator, monkeypatch)
        np.testing.assert_array_equal(generator.generate(styles, 3), expected)
        assert sizes == [1] * 7
    with Translator(generator_bundle, backend="onnxruntime", threads=1, memory=memory / 2**30) as generator:
        sizes = _count_batches(generator, monkeypatch)
        np.testing.assert_array_equal(generator.generate(styles, 3), expected)
        assert sizes == [2, 2, 2, 1]


def _count_batches(generator: Translator, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    run = generator._session.run

    def counted(graph, feeds):
        sizes.append(len(feeds["style"]))
        return run(graph, feeds)

    monkeypatch.setattr(generator._session, "run", counted)
    return sizes


def test_an_image_that_needs_more_memory_than_allowed_is_a_sentence(changed, generator_bundle):
    manifest = open_bundle(generator_bundle).manifest
    vast = msgspec.structs.replace(manifest.variants[0], working=2**50)
    with (
        changed(variants=(vast,)) as generator,
        pytest.raises(EngineError, match=r"makes images of 16x16: generating one takes about .* a higher --memo"),
    ):
        generator.generate(generator.style(seed=1))


@pytest.mark.parametrize(("styles", "shape"), [
    (np.zeros(STYLE + 1), r"\[7\]"),
    (np.zeros((2, 3, STYLE)), r"\[2, 3, 6\]"),
    (np.zeros((1, 1, LAYERS, STYLE)), r"\[1, 1, 4, 6\]"),
    (np.float32(1), r"\[\]"),
], ids=["length", "layers", "rank", "number"])  # fmt: skip
def test_styles_of_another_shape_are_refused(generator, styles, shape):
    with pytest.raises(StyleError, match=rf"the styles have the shape {shape}: give \[4, 6\] or \[N, 4, 6\]"):
        generator.generate(styles)


def test_styles_that_are_no_finite_numbers_are_refused(generator):
    with pytest.raises(StyleError, match="not finite"):
        generator.generate(np.full(STYLE, np.inf))
    with pytest.raises(StyleError, match="not an array of numbers"):
        generator.generate("seven")


@pytest.mark.parametrize(("noise", "sentence"), [
    ("random", "the noise is 'random': give constant, zero, a seed, or a list of seeds or arrays"),
    (None, "the noise is None"),
    (True, "the noise is True"),
    (1.5, "the noise is 1.5"),
    (np.zeros((1, 1, 8, 8)), "the noise is array"),
    (-1, "the seed of the noise is -1"),
    (2**32, "the seed of the noise is 4294967296"),
    ([], "has 0 arrays: give 2, one for each layer"),
    ([1, 2], "the noise has 2 seeds for 3 images: give one for each image"),
    ([1, -2, 3], "the seed of the noise is -2"),
    (GREYS[:1], "has 1 arrays: give 2"),
    ([GREYS[1], GREYS[0]], r"noise of layer 0 has the shape \[1, 1, 16, 16\]: give \[1, 1, 8, 8\] for all images, or"),
    ([GREYS[0].repeat(2, 0), GREYS[1]], r"layer 0 has the shape \[2, 1, 8, 8\]: .* or \[3, 1, 8, 8\] for one each"),
    ([GREYS[0], GREYS[1] + np.nan], "noise of layer 1 holds numbers that are not finite"),
    ([GREYS[0], "grain"], "noise of layer 1 is not an array of numbers"),
], ids=["word", "none", "truth", "fraction", "one array", "negative", "large", "empty", "seeds", "a negative seed",
        "too few", "order", "batch", "nan", "text"])  # fmt: skip
def test_noise_that_does_not_fit_is_one_sentence(generator, noise, sentence):
    with pytest.raises(StyleError, match=sentence):
        generator.generate(np.zeros((3, LAYERS, STYLE)), noise)


def test_images_and_styles_go_to_the_bundle_that_takes_them(generator, tiny_bundle):
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(BundleError, match=r"makes images from styles alone: call Translator\.generate\(styles\)"):
        generator(image, generator.style(seed=1))
    with (
        Translator(tiny_bundle, backend="onnxruntime", threads=1) as translator,
        pytest.raises(BundleError, match="translates images: call the translator with an image and a style"),
    ):
        translator.generate(translator.style("dog", seed=1))


def test_damaged_noise_is_named(changed, generator_bundle, tmp_path, rewrite_manifest):
    bundle = Path(shutil.copytree(generator_bundle, tmp_path / "damaged"))
    np.savez(bundle / CONSTANTS, noise_0=np.zeros((1, 1, 8, 8), np.float32), noise_1=np.zeros((1, 1, 8, 8)))
    rewrite_manifest(bundle)
    with Translator(bundle, backend="onnxruntime", threads=1) as generator:
        style = generator.style(seed=1)
        with pytest.raises(
            BundleError, match=r"noise\.npz holds no noise \(they have the shape .*\): export the bundle"
        ):
            generator.generate(style)
        assert generator.generate(style, "zero").shape == (1, 16, 16, 3)


def test_a_graph_that_makes_other_images_than_the_manifest_says_is_refused(changed, generator_bundle):
    manifest = open_bundle(generator_bundle).manifest
    with (
        changed(output=msgspec.structs.replace(manifest.output, channels=1)) as generator,
        pytest.raises(BundleError, match=r"makes uint8 \[1, 16, 16, 3\] instead of uint8 \[1, 16, 16, 1\]"),
    ):
        generator.generate(generator.style(seed=1))


def test_auto_measures_a_generator_and_remembers_the_fastest(generator_bundle, tmp_path):
    lines: list[str] = []
    for _ in range(2):
        with Translator(generator_bundle, threads=1, cache=tmp_path, progress=lines.append) as generator:
            assert generator.generate(generator.style(seed=1)).shape == (1, 16, 16, 3)
    measured = [line for line in lines if "is the fastest here" in line]
    absent = [name for name in ENGINES if registry.ENGINES[name].absent() is not None]
    assert len(measured) == (0 if absent else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_generates_too(generator_bundle):
    with Translator(generator_bundle, backend="onnxruntime", threads=1) as generator:
        style = generator.style(seed=1)
        expected = generator.generate(style)
        child = os.fork()
        if child == 0:
            same = np.array_equal(generator.generate(style), expected)
            sys.stdout.flush()
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_the_mapping_is_what_the_tests_think_it_is():
    np.testing.assert_array_equal(MODEL.style(np.eye(LATENT, dtype=np.float32)), FROM_LATENT + MEAN)
