from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import odd_images
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from starcast.errors import BundleError, EngineError, ImageError, OptionError, StyleError, VariantMissingError
from starcast.images.python_inputs import one_image
from starcast.images.write import write_image
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines import registry
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.manifest import Condition, LabelMaker
from starcast.runtime.translator import Translator

ENGINES = ("openvino", "onnxruntime")


def _need(name: str) -> None:
    reason = registry.ENGINES[name].absent()
    if reason is not None:
        pytest.skip(f"{name} is {reason}")


def _draw_images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="session", params=ENGINES)
def translator(request, tiny_bundle):
    _need(request.param)
    with Translator(tiny_bundle, backend=request.param, threads=1) as opened:
        yield opened


@pytest.fixture
def changed(tmp_path, tiny_bundle, rewrite_manifest):
    """A function (**changes) -> Translator of a copy of the tiny bundle with these manifest fields."""

    def change(**changes: object) -> Translator:
        bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
        rewrite_manifest(bundle, **changes)
        return Translator(bundle, threads=1)

    return change


def test_it_says_what_it_opened(translator, tiny_bundle):
    assert translator.backend in ENGINES
    assert translator.size == (32, 32)
    assert translator.domains == ("cat", "dog", "wild")
    assert translator.bundle.path == tiny_bundle


@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (5, 32, 32, 3), (2, 4, 64, 3), (0, 32, 32, 3)])
def test_every_batch_and_size_is_translated(translator, tiny_model, shape):
    images, style = _draw_images(*shape), translator.style(domain="dog", seed=7)
    translations = translator(images, style)
    assert (translations.dtype, translations.shape) == (np.uint8, shape)
    np.testing.assert_array_equal(translations, tiny_model.translation(images, style))


def test_one_image_gives_one_image(translator, tiny_model):
    image, style = _draw_images(32, 32, 3), translator.style(domain=2, seed=1)
    np.testing.assert_array_equal(translator(image, style), tiny_model.translation(image[None], style)[0])


def test_a_style_is_for_all_images_or_each_has_its_own(translator, tiny_model):
    images = _draw_images(3, 32, 32, 3)
    styles = np.stack([translator.style(domain=domain, seed=4) for domain in translator.domains])
    np.testing.assert_array_equal(translator(images, styles), tiny_model.translation(images, styles))
    np.testing.assert_array_equal(translator(images, styles[:1]), translator(images, styles[0]))
    np.testing.assert_array_equal(translator(images, styles[0].tolist()), translator(images, styles[0]))


def test_images_that_are_not_contiguous_are_translated(translator, tiny_model):
    images, style = _draw_images(2, 32, 32, 3)[:, ::-1, :, ::-1], translator.style(domain=0, seed=0)
    np.testing.assert_array_equal(translator(images, style), tiny_model.translation(images, style))


def test_translations_stay_as_they_are_when_the_next_batch_runs(translator):
    style = translator.style(domain=0, seed=0)
    first = translator(_draw_images(2, 32, 32, 3, seed=1), style)
    kept = first.copy()
    translator(_draw_images(2, 32, 32, 3, seed=2), style)
    np.testing.assert_array_equal(first, kept)


def test_sources_are_left_as_they_were(translator):
    images = _draw_images(2, 32, 32, 3)
    kept = images.copy()
    images.setflags(write=False)
    translator(images, translator.style(domain=0, seed=0))
    np.testing.assert_array_equal(images, kept)


def test_a_seed_is_numpys_random_state(translator, tiny_model):
    latent = np.random.RandomState(7).standard_normal(4).astype(np.float32)
    style = translator.style(domain="dog", seed=7)
    assert (style.dtype, style.shape) == (np.float32, (8,))
    np.testing.assert_allclose(style, tiny_model.latent_style(latent, 1), atol=1e-6)


def test_the_largest_seed_works_and_numpy_integers_do(translator):
    assert np.isfinite(translator.style(domain=0, seed=2**32 - 1)).all()
    np.testing.assert_array_equal(translator.style(domain=0, seed=np.uint32(5)), translator.style(domain=0, seed=5))


def test_a_reference_is_stretched_to_the_models_size(translator, tiny_model, tmp_path):
    reference = _draw_images(50, 75, 3)
    stretched = np.asarray(Image.fromarray(reference).resize((32, 32), Image.Resampling.BILINEAR))
    expected = tiny_model.reference_style(stretched, 2)
    np.testing.assert_allclose(translator.style(domain="wild", reference=reference), expected, atol=1e-6)
    write_image(tmp_path / "x.png", reference)
    for path in (tmp_path / "x.png", str(tmp_path / "x.png")):
        np.testing.assert_allclose(translator.style(domain="wild", reference=path), expected, atol=1e-6)


@pytest.mark.parametrize("psi", [0.0, 0.5, 0.7, 2.0])
def test_psi_lies_between_the_domains_mean_and_the_style(translator, tiny_model, psi):
    latent = np.random.RandomState(3).standard_normal(4).astype(np.float32)
    mean, full = tiny_model.mean_style(1), tiny_model.latent_style(latent, 1)
    style = translator.style(domain=1, seed=3, psi=psi)
    assert style.dtype == np.float32
    np.testing.assert_allclose(style, mean + psi * (full - mean), atol=1e-6)


@pytest.mark.parametrize("arguments", [
    {}, {"seed": 1, "reference": _draw_images(32, 32, 3)}, {"seed": 1, "labels": {"a": 1}},
], ids=["none", "seed and reference", "seed and labels"])  # fmt: skip
def test_a_style_has_one_origin(translator, arguments):
    with pytest.raises(StyleError, match="from a seed, a latent, a reference or labels: give one of them"):
        translator.style(domain=0, **arguments)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7", True])
def test_a_seed_out_of_range_is_refused(translator, seed):
    with pytest.raises(StyleError, match=r"the seed is .*: give a whole number from 0 to 4294967295"):
        translator.style(domain=0, seed=seed)


def test_an_unknown_domain_is_answered_with_the_domains(translator):
    with pytest.raises(StyleError, match=r"no domain 'cow': the bundle has cat \(0\), dog \(1\), wild \(2\)"):
        translator.style(domain="cow", seed=0)
    with pytest.raises(StyleError, match="say which domain"):
        translator.style(seed=0)


@pytest.mark.parametrize("psi", [float("nan"), float("inf")])
def test_psi_is_finite(translator, psi):
    with pytest.raises(StyleError, match="psi is"):
        translator.style(domain=0, seed=0, psi=psi)


def test_an_unreadable_reference_is_named(translator, tmp_path):
    with pytest.raises(ImageError, match=r"missing\.png does not exist"):
        translator.style(domain=0, reference=tmp_path / "missing.png")


@pytest.mark.parametrize(("images", "error", "words"), [
    (np.zeros((1, 32, 32, 3), np.float32), TypeError, "a source is uint8 RGB, 0 to 255, not float32"),
    ([[1]], TypeError, "not int64"),
    (np.zeros((32, 32), np.uint8), ValueError, r"sources must be \[N, H, W, 3\] or one \[H, W, 3\], not \[32, 32\]"),
    (np.zeros((1, 3, 32, 32), np.uint8), ValueError, r"not \[1, 3, 32, 32\]"),
    (np.zeros((1, 32, 32, 4), np.uint8), ValueError, r"not \[1, 32, 32, 4\]"),
    (np.zeros((1, 0, 32, 3), np.uint8), ValueError, "sources are 32x0"),
], ids=["float", "list", "grey", "NCHW", "alpha", "no rows"])  # fmt: skip
def test_other_images_are_refused_with_what_is_wrong(translator, images, error, words):
    with pytest.raises(error, match=words):
        translator(images, np.zeros(8, np.float32))


@pytest.mark.parametrize("shape", [(7,), (2, 8), (3, 7), (1, 3, 8), ()])
def test_other_styles_are_refused_with_what_fits(translator, shape):
    with pytest.raises(StyleError, match=r"give \[8\] for all images, or \[3, 8\] for one each"):
        translator(_draw_images(3, 32, 32, 3), np.zeros(shape, np.float32))


def test_a_style_that_is_not_finite_is_refused(translator):
    with pytest.raises(StyleError, match="not finite"):
        translator(_draw_images(1, 32, 32, 3), np.full(8, np.nan, np.float32))


@pytest.mark.parametrize("reference", [np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)])
def test_a_reference_of_another_shape_is_refused(translator, reference):
    with pytest.raises(ValueError, match=r"a reference must be an image \[H, W, 3\]"):
        translator.style(domain=0, reference=reference)


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 5), rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_any_multiple_of_the_stride_gives_what_the_arithmetic_says(tiny_bundle, tiny_model, batch, rows, columns, seed):
    images = _draw_images(batch, rows * 4, columns * 4, 3, seed=seed)
    translator = _shared(tiny_bundle)
    style = translator.style(domain=seed % 3, seed=seed)
    # a sum that lies on .5 may round either way in float32: one level
    difference = translator(images, style).astype(int) - tiny_model.translation(images, style)
    assert np.abs(difference).max() <= 1


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(0, 3), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_any_other_size_is_filled_up_and_cut_back(tiny_bundle, tiny_model, batch, height, width, seed):
    images = _draw_images(batch, height, width, 3, seed=seed)
    translator = _shared(tiny_bundle)
    style = translator.style(domain=seed % 3, seed=seed)
    translations = translator(images, style)
    assert translations.shape == images.shape
    assert translations.flags.c_contiguous
    assert not batch or np.abs(translations.astype(int) - tiny_model.translation(images, style)).max() <= 1


def test_auto_says_what_it_measures_and_takes_up_what_it_measured_before(
    tmp_path, tiny_bundle, monkeypatch, tiny_model
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ENGINES:
        _need(name)
    lines: list[str] = []
    with Translator(tiny_bundle, threads=1, progress=lines.append) as first:
        images, style = _draw_images(2, 32, 32, 3), first.style(domain=1, seed=2)
        np.testing.assert_array_equal(first(images, style), tiny_model.translation(images, style))
    assert len(lines) == 2
    assert lines[0].startswith("measuring 2 combinations")
    assert lines[1].startswith(f"{first.backend} {first.variant.form} is the fastest here")
    with Translator(tiny_bundle, threads=1, progress=lines.append) as second:
        assert second.backend == first.backend
    assert len(lines) == 2


_OPENED: dict[Path, Translator] = {}


def _shared(bundle: Path) -> Translator:
    if bundle not in _OPENED:
        _OPENED[bundle] = Translator(bundle, threads=1)
    return _OPENED[bundle]


def test_engines_agree(tiny_bundle):
    for name in ENGINES:
        _need(name)
    images = _draw_images(4, 32, 32, 3)
    found = []
    for name in ENGINES:
        with Translator(tiny_bundle, backend=name, threads=1) as translator:
            found.append(translator(images, translator.style(domain=1, seed=1)).astype(int))
    assert np.abs(found[0] - found[1]).max() <= 1


def test_a_variant_of_limited_batch_gets_pieces_and_gives_the_whole(changed, tiny_bundle, tiny_model):
    [variant] = open_bundle(tiny_bundle).manifest.variants
    with changed(variants=(_with(variant, max_batch=2),)) as translator:
        images = _draw_images(5, 32, 32, 3)
        styles = np.stack([translator.style(domain=0, seed=seed) for seed in range(5)])
        np.testing.assert_array_equal(translator(images, styles), tiny_model.translation(images, styles))
        np.testing.assert_array_equal(translator(images, styles[0]), tiny_model.translation(images, styles[0]))


def test_a_variant_of_fixed_sizes_names_them(changed, tiny_bundle):
    [variant] = open_bundle(tiny_bundle).manifest.variants
    translator = changed(variants=(_with(variant, sizes=((32, 32), (32, 64))),))
    assert translator(_draw_images(1, 32, 64, 3), np.zeros(8)).shape == (1, 32, 64, 3)
    assert translator(_draw_images(1, 29, 61, 3), np.zeros(8)).shape == (1, 29, 61, 3)
    assert translator.why_not(31, 61) is None
    assert "only with images of 32x32, 64x32" in translator.why_not(28, 64)
    with pytest.raises(ValueError, match=r"sources are 32x64: .* only with images of 32x32, 64x32"):
        translator(_draw_images(1, 64, 32, 3), np.zeros(8))


def test_batches_are_cut_to_the_memory_and_images_beyond_it_are_refused(tmp_path, tiny_bundle, rewrite_manifest):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    [variant] = open_bundle(tiny_bundle).manifest.variants
    rewrite_manifest(bundle, variants=(_with(variant, working=2**20, bytes=2**20),))  # of 32x32
    need, held = OnnxRuntime.scratch * 2**20 / 2**30, 2 * 2**20 / 2**30
    with Translator(bundle, backend="onnxruntime", threads=1, memory=held + 2.5 * need) as translator:
        sizes = []
        session = translator._session.session(variant.file)
        run = session.run
        session.run = lambda feeds: sizes.append(feeds["image"].shape[0]) or run(feeds)
        translator(_draw_images(5, 32, 32, 3), np.zeros(8))
        translator(_draw_images(2, 32, 64, 3), np.zeros(8))
        assert sizes == [2, 2, 1, 1, 1]
        assert translator.why_not(32, 80) is None
        with pytest.raises(ValueError, match=r"sources are 96x32: .* GiB of memory, more than the 0.0 GiB that may be"):
            translator(_draw_images(1, 32, 96, 3), np.zeros(8))


@pytest.mark.parametrize(("field", "arguments", "words"), [
    ("latent", {"seed": 0}, "makes no styles from seeds: give a reference"),
    ("reference", {"reference": _draw_images(32, 32, 3)}, "makes no styles from references: give a seed"),
    ("means", {"seed": 0, "psi": 0.5}, "has no mean styles, which psi needs: leave psi at 1"),
])  # fmt: skip
def test_a_bundle_without_a_way_to_a_style_says_so(changed, tiny_bundle, field, arguments, words):
    condition = _with(open_bundle(tiny_bundle).manifest.condition, **{field: None})
    with pytest.raises(StyleError, match=words):
        changed(condition=condition).style(domain=0, **arguments)


LABELS = LabelMaker(names=("black", "blond", "brown", "male", "young", "a", "b", "c"))
BY_LABEL = Condition(size=8, labels=LABELS)


def test_labels_are_the_style_in_the_bundles_order(changed, tiny_model):
    translator = changed(condition=BY_LABEL)
    style = translator.style(labels={"male": 1, "blond": 0.5})
    assert style.dtype == np.float32
    np.testing.assert_array_equal(style, [0, 0.5, 0, 1, 0, 0, 0, 0])
    images = _draw_images(2, 32, 32, 3)
    np.testing.assert_array_equal(translator(images, style), tiny_model.translation(images, style))


@pytest.mark.parametrize(("arguments", "words"), [
    ({"seed": 0}, "makes no styles from seeds: give labels"),
    ({"reference": _draw_images(32, 32, 3)}, "makes no styles from references: give labels"),
    ({"labels": {"hat": 1}}, "there is no label 'hat': the bundle has black, blond, brown, male, young, a, b, c"),
    ({"labels": {"male": float("nan")}}, "labels must be finite numbers"),
    ({"labels": {"male": "yes"}}, "labels must be numbers, not"),
    ({"labels": {"male": 1}, "psi": 0.5}, "labels determine the whole style: leave out domain and psi"),
    ({"labels": {"male": 1}, "domain": "cat"}, "leave out domain and psi"),
])  # fmt: skip
def test_labels_that_cannot_be_and_ways_that_a_bundle_of_labels_lacks_are_named(changed, arguments, words):
    with pytest.raises(StyleError, match=words):
        changed(condition=BY_LABEL).style(**({} if "labels" in arguments else {"domain": 0}), **arguments)


def test_a_bundle_without_labels_takes_none(translator):
    with pytest.raises(StyleError, match="takes no labels: give a seed or a reference"):
        translator.style(labels={"male": 1})


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("content", [
    b"", b"nonsense", b"PK\x03\x04nonsense", _npz(other=np.zeros((3, 8))), _npz(mean=np.zeros((2, 8))),
    _npz(mean=np.array([{}, 1], dtype=object)), _npz(mean=np.array(["a"])), b"\x93NUMPY",
], ids=["empty", "text", "no zip", "other name", "other shape", "pickle", "words", "npy"])  # fmt: skip
def test_damaged_mean_styles_are_named_and_never_unpickled(tmp_path, tiny_bundle, rewrite_manifest, content):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / "styles.npz").write_bytes(content)
    rewrite_manifest(bundle)
    with (
        Translator(bundle, threads=1) as translator,
        pytest.raises(BundleError, match=r"styles\.npz holds .*mean styles.*: export the bundle again"),
    ):
        translator.style(domain=0, seed=0, psi=0.5)


@pytest.mark.parametrize("name", ENGINES)
def test_a_graph_that_is_no_graph_is_named_with_the_engine(tmp_path, tiny_bundle, rewrite_manifest, name):
    _need(name)
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / "generator/plain-fp32.onnx").write_bytes(b"no graph at all")
    rewrite_manifest(bundle)
    with pytest.raises(EngineError, match=r"plain-fp32\.onnx is refused by (OpenVINO|ONNX Runtime) \d.*") as caught:
        Translator(bundle, backend=name)
    assert len(str(caught.value).splitlines()) == 1


def test_changed_graphs_are_not_run(tmp_path, tiny_bundle):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    content = bytearray((bundle / "mapping.onnx").read_bytes())
    content[-40] ^= 1
    (bundle / "mapping.onnx").write_bytes(content)
    with Translator(bundle, threads=1) as translator, pytest.raises(BundleError, match=r"mapping\.onnx has changed"):
        translator.style(domain=0, seed=0)


def test_what_is_not_there_is_said_when_opening(tiny_bundle):
    with pytest.raises(
        OptionError, match="--backend is 'tpu': give one of auto, tensorrt, .* openvino, ncnn, onnxruntime"
    ):
        Translator(tiny_bundle, backend="tpu")
    with pytest.raises(VariantMissingError, match=r"has no int8 variant \(it has fp32\).*starcast export"):
        Translator(tiny_bundle, precision="int8")


def test_a_closed_translator_stays_closed(tiny_bundle):
    with Translator(tiny_bundle, threads=1) as translator:
        style = translator.style(domain=0, seed=0)
    translator.close()
    with pytest.raises(EngineError, match="tiny has been closed: open it again"):
        translator.style(domain=0, seed=0)
    with pytest.raises(EngineError, match="tiny has been closed: open it again"):
        translator(_draw_images(32, 32, 3), style)


def test_translating_needs_neither_torch_nor_onnx(tiny_bundle):
    code = """
import sys
for name in ("torch", "torchvision", "onnx", "onnx_ir", "onnxscript"):
    sys.modules[name] = None
import numpy as np
from starcast.runtime import Translator
with Translator(sys.argv[1], threads=1) as translator:
    print(translator(np.zeros((32, 32, 3), np.uint8), translator.style(domain="dog", seed=7)).shape)
"""
    result = subprocess.run([sys.executable, "-c", code, tiny_bundle], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "(32, 32, 3)"
    assert result.stderr == ""


def _with(struct, **changes):
    import msgspec

    return msgspec.structs.replace(struct, **changes)


def test_images_on_the_gpu_are_for_engines_that_are_there(tiny_bundle):
    class OnGpu:
        shape = (1, 32, 32, 3)

        def __dlpack_device__(self):
            return 2, 0  # kDLCUDA

    words = "onnxruntime takes no images on the GPU: pass NumPy arrays"
    with Translator(tiny_bundle, backend="onnxruntime") as translator, pytest.raises(EngineError, match=words):
        translator(OnGpu(), np.zeros(8, np.float32))


def test_what_is_kept_of_a_bundle_goes_into_the_cache_that_is_named(tiny_bundle, tmp_path):
    for name in ENGINES:  # one alone is not measured
        _need(name)
    with Translator(tiny_bundle, cache=tmp_path / "kept"):
        pass
    assert list((tmp_path / "kept/measured").iterdir())


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "LA", "I;16", "F", "CMYK", "YCbCr", "HSV"])
def test_a_pillow_image_is_translated_as_its_file_would_be(translator, tiny_model, tmp_path, mode):
    image = Image.fromarray(_draw_images(32, 32, 3)).convert("L" if mode == "I;16" else mode).convert(mode)
    pixels, style = one_image(image, "a source"), translator.style(domain=0, seed=0)
    np.testing.assert_array_equal(translator(image, style), tiny_model.translation(pixels[None], style)[0])
    np.testing.assert_array_equal(
        translator([image, image], style), tiny_model.translation(pixels[None], style)[[0, 0]]
    )
    np.testing.assert_array_equal(
        translator.style(domain=1, reference=image), translator.style(domain=1, reference=pixels)
    )


def test_a_pillow_image_as_reference_is_turned_as_its_file_is(translator, tmp_path):
    stored, exif = odd_images.turned_away(Image.fromarray(_draw_images(40, 60, 3)), 6)
    stored.save(tmp_path / "turned.png", exif=exif)
    expected = translator.style(domain=1, reference=tmp_path / "turned.png")
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(translator.style(domain=1, reference=image), expected)
