"""Inputs that a graph makes of the source: made once a source, whatever the styles, and fed by themselves."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from graph_text import write_graph_text
from heatmap_graph import HEATMAPS
from PIL import Image

from starcast.cli import root
from starcast.errors import BundleError, MissingExtraError
from starcast.runtime.bundle import open_bundle
from starcast.runtime.engines.base import Absence
from starcast.runtime.engines.memory_needs import held_need, image_need
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.extra_inputs import ExtraCost, ExtraInputs
from starcast.runtime.faces.finders import open_heatmaps
from starcast.runtime.manifest import MANIFEST, ExtraInput, FileFacts, LandmarkMaker, Manifest
from starcast.runtime.manifest_json import encode
from starcast.runtime.translator import Translator

SIDE = 32
OFFSETS = (np.arange(24).reshape(8, 3) % 7 - 3).astype(np.float32) * 4  # sums of few bits are exact

# The translation is the colour of the style, plus 100 where the first mask is above a half. Masks have half the size
FRAME = """
<ir_version: 8, opset_import: ["": 17]>
generator (uint8[N, H, W, 3] image, float[M, 8] style, float[N, 2, h, w] masks) => (uint8[N, H, W, 3] translation)
<float[8, 3] offsets, int64[2] axes = {1, 2}, float low = {0}, float high = {255}, float hundred = {100},
 int64[2] one = {1, 1}, float[4] scales = {1, 1, 2, 2}>
{
    pixels = Cast <to = 1> (image)
    colour = MatMul (style, offsets)
    offset = Unsqueeze (colour, axes)
    moved = Add (pixels, offset)
    first, second = Split <axis = 1> (masks, one)
    large = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
            (first, , scales)
    last = Transpose <perm = [0, 2, 3, 1]> (large)
    lighter = Mul (last, hundred)
    whole = Add (moved, lighter)
    rounded = Round (whole)
    clipped = Clip (rounded, low, high)
    translation = Cast <to = 2> (clipped)
}
"""
# The first mask is 1 where the source's red is above 127.5, on squares of 2 pixels; 16x16 whatever the image's size
MASKS = """
<ir_version: 8, opset_import: ["": 17]>
masks (uint8[N, H, W, 3] image) => (float[N, 2, 16, 16] masks)
<int64[1] start = {0}, int64[1] end = {1}, int64[1] axis = {3}, float half = {127.5}, int64[2] sides = {16, 16},
 int64[1] zero = {0}, int64[1] two = {2}, int64[1] planes = {1}>
{
    pixels = Cast <to = 1> (image)
    red = Slice (pixels, start, end, axis)
    plane = Transpose <perm = [0, 3, 1, 2]> (red)
    shape = Shape (plane)
    batch = Slice (shape, zero, two)
    sizes = Concat <axis = 0> (batch, sides)
    small = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
            (plane, , , sizes)
    above = Greater (small, half)
    mask = Cast <to = 1> (above)
    masks = Concat <axis = 1> (mask, mask)
}
"""

# The same masks, of the red as a heatmap
MASKS_OF_HEATMAPS = """
<ir_version: 8, opset_import: ["": 17]>
masks (float[N, 2, 16, 16] heatmaps) => (float[N, 2, 16, 16] masks)
<int64[2] one = {1, 1}, float half = {127.5}>
{
    red, green = Split <axis = 1> (heatmaps, one)
    above = Greater (red, half)
    mask = Cast <to = 1> (above)
    masks = Concat <axis = 1> (mask, mask)
}
"""
LANDMARKS = LandmarkMaker(graph="landmarks.onnx", points=2, height=16, width=16)
OF_HEATMAPS = ExtraInput(name="masks", reads="heatmaps", graph="masks.onnx", channels=2, height=16, width=16)


@pytest.fixture(scope="module")
def pointed(tmp_path_factory, masked: Path) -> Path:
    """`masked` with a graph that finds landmarks, whose heatmaps the masks are made of. Do not write into it."""
    folder = tmp_path_factory.mktemp("pointed") / "bundle"
    shutil.copytree(masked, folder)
    write_graph_text(folder / "landmarks.onnx", HEATMAPS)
    write_graph_text(folder / "masks.onnx", MASKS_OF_HEATMAPS)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    write(folder, msgspec.structs.replace(manifest, landmarks=LANDMARKS), OF_HEATMAPS)
    return folder


@pytest.fixture(scope="module")
def masked(tmp_path_factory, tiny_bundle: Path) -> Path:
    """`tiny_bundle` with a frame graph that takes masks, and the graph that makes them. Do not write into it."""
    folder = tmp_path_factory.mktemp("masked") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    write_graph_text(folder / "generator/plain-fp32.onnx", FRAME, offsets=OFFSETS)
    write_graph_text(folder / "masks.onnx", MASKS)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    write(folder, manifest, ExtraInput(name="masks", graph="masks.onnx", channels=2, height=16, width=16))
    return folder


def write(folder: Path, manifest: Manifest, *extra: ExtraInput) -> None:
    from starcast.runtime.bundle import sha256_of

    files = {
        path.relative_to(folder).as_posix(): FileFacts(sha256=sha256_of(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST
    }  # fmt: skip
    (folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(manifest, extra_inputs=extra, files=files)))


def image(red: int, left: int = 0, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Dark, with this red from the column `left` on."""
    pixels = np.full((height, width, 3), 20, np.uint8)
    pixels[:, left:, 0] = red
    return pixels


def expected(source: np.ndarray, style: np.ndarray) -> np.ndarray:
    values = source.astype(np.float32) + style @ OFFSETS + 100.0 * (source[:, :, :1] > 127.5)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_translation_has_the_masks_of_its_own_source(masked, backend):
    sources = np.stack([image(200, 8), image(100), image(255, 16)])
    with Translator(masked, backend=backend) as translator:
        style = translator.style("dog", seed=1)
        got = translator(sources, style)
    for source, translation in zip(sources, got, strict=True):
        assert np.array_equal(translation, expected(source, style))


def test_masks_grow_with_the_source(masked):
    source = image(200, 32, height=64, width=96)
    with Translator(masked, backend="onnxruntime") as translator:
        style = translator.style("dog", seed=1)
        assert np.array_equal(translator(source, style)[:, 40:], expected(source, style)[:, 40:])


def test_a_source_with_several_styles_has_its_masks_made_once(masked):
    sources = np.stack([image(200, 8), image(100), image(200, 8)])
    with Translator(masked, backend="onnxruntime") as translator:
        for seed in range(4):
            translator(sources, translator.style("dog", seed=seed))
        styles = np.stack([translator.style(0, seed=seed) for seed in range(6)])
        translator(np.stack([sources[0]] * 6), styles)
        assert translator.extra_cost.sources == 2
        assert translator.extra_cost.names == ("masks",)
        translator(image(10), styles[0])
        assert translator.extra_cost.sources == 3


def test_only_the_latest_masks_are_kept(masked, monkeypatch):
    monkeypatch.setattr("starcast.runtime.extra_inputs.KEPT_BYTES", 2 * 2 * 16 * 16 * 4)
    runs = []

    def run(graph, feeds):
        runs.append(graph)
        return np.zeros((1, 2, 16, 16), np.float32)

    made = ExtraInputs(open_bundle(masked), run)
    for red in (1, 2, 3, 3, 2, 1):
        made.make(image(red)[None])
    assert len(runs) == 4
    batch = made.make(np.stack([image(red) for red in range(10, 15)]))  # more than are kept
    assert batch["masks"].shape == (5, 2, 16, 16)


def test_the_cache_keeps_no_pixels_of_the_sources(masked):
    made = ExtraInputs(open_bundle(masked), lambda graph, feeds: np.zeros((1, 2, 16, 16), np.float32))
    tracemalloc.start()
    try:
        for red in range(20):
            made.make(image(red, height=512, width=512)[None])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2**20  # the pixels would be 15 MiB


def test_equal_bytes_of_another_shape_are_another_source(masked):
    runs = []

    def run(graph, feeds):
        runs.append(feeds["image"].shape)
        return np.zeros((1, 2, 16, 16), np.float32)

    made = ExtraInputs(open_bundle(masked), run)
    for height, width in ((64, 32), (32, 64)):
        made.make(image(7, height=height, width=width)[None])
    assert runs == [(1, 64, 32, 3), (1, 32, 64, 3)]


def test_a_graph_that_makes_something_else_is_refused(masked):
    made = ExtraInputs(open_bundle(masked), lambda graph, feeds: np.zeros((1, 1, 16, 16), np.float32))
    with pytest.raises(BundleError, match=r"makes float32 \[1, 1, 16, 16\] instead of float32 \[1, 2, 16, 16\]"):
        made.make(image(1)[None])


def test_the_statistics_of_translate_have_the_cost_of_masks(masked, tmp_path):
    Image.fromarray(image(200, 8)).save(tmp_path / "a.png")
    arguments = ["translate", str(masked), str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--domain", "all"]
    result = CliRunner().invoke(root, [*arguments, "--seed", "1"], standalone_mode=False)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3
    assert "(masks " in result.output


def test_the_cost_is_shown_with_the_stage_it_is_part_of():
    cost = ExtraCost(("masks",), 10, 0.5)
    assert cost.within("run", 10) == " (masks 50.0)"
    assert cost.within("encode", 10) == cost.within("run", 0) == ExtraCost().within("run", 10) == ""
    assert cost.since(ExtraCost(("masks",), 4, 0.2)).sources == 6


@pytest.mark.parametrize(
    "change",
    [{"name": "image"}, {"name": "style"}, {"name": ""}, {"height": 2**14, "width": 2**14}],
)
def test_impossible_extra_inputs_are_refused(masked, tmp_path, change):
    folder = tmp_path / "bundle"
    shutil.copytree(masked, folder)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    write(folder, manifest, msgspec.structs.replace(manifest.extra_inputs[0], **change))
    with pytest.raises(BundleError, match="its extra inputs are"):
        open_bundle(folder)


# masks of heatmaps, and the landmarks that are read from them


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_masks_of_heatmaps_are_those_of_the_source(pointed, backend):
    sources = np.stack([image(200, 8), image(100), image(255, 16)])
    with Translator(pointed, backend=backend) as translator:
        style = translator.style("dog", seed=1)
        got = translator(sources, style)
        assert translator.extra_cost.sources == 3
    for source, translation in zip(sources, got, strict=True):
        assert np.array_equal(translation, expected(source, style))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48)])
def test_landmarks_are_where_the_heatmaps_peak_in_pixels_of_the_image(pointed, backend, height, width):
    """A cell of 16 by 16 is `height / 16` by `width / 16` pixels; points lie in its middle."""
    source = np.zeros((height, width, 3), np.uint8)
    source[height // 2, width // 4, 0] = 200  # the cell (4, 8)
    source[0, 0, 1] = 200  # the cell (0, 0), on the edge
    with Translator(pointed, backend=backend) as translator:
        points = translator.landmarks(source)
        assert np.array_equal(points, translator.landmarks(Image.fromarray(source)))
    cell = np.array([width / 16, height / 16])
    assert np.allclose(points, [(4.5, 8.5) * cell, (0.5, 0.5) * cell])


def test_a_bundle_without_landmarks_says_so(masked):
    with (
        Translator(masked, backend="onnxruntime") as translator,
        pytest.raises(BundleError, match="has no graph that finds landmarks: if it is a face model"),
    ):
        translator.landmarks(image(1))


def test_heatmaps_of_another_shape_are_refused(pointed):
    made = ExtraInputs(open_bundle(pointed), lambda graph, feeds: np.zeros((1, 2, 8, 16), np.float32))
    with pytest.raises(
        BundleError, match=r"landmarks.onnx makes float32 \[1, 2, 8, 16\] instead of float32 \[1, 2, 16,"
    ):
        made.make(image(1)[None])


def edited(pointed: Path, folder: Path, edit) -> Path:
    shutil.copytree(pointed, folder)
    raw = json.loads((folder / MANIFEST).read_text())
    edit(raw)
    (folder / MANIFEST).write_text(json.dumps(raw))
    return folder


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda raw: raw.pop("landmarks"), "its extra inputs read heatmaps that it does not make"),
        (lambda raw: raw["landmarks"].update(height=2**14, width=2**14), "it has 2 heatmaps of 16384x16384"),
        (lambda raw: raw["landmarks"].update(points=0), "is damaged"),
        (lambda raw: raw["landmarks"].update(graph="elsewhere.onnx"), "does not list 'elsewhere.onnx'"),
        (lambda raw: raw["landmarks"].update(scale=2), "has 'scale' in its landmarks, which this starcast does not k"),
        (lambda raw: raw["extra_inputs"][0].update(reads="pose"), "has reads 'pose' in its extra_inputs, which this s"),
    ],
)
def test_a_manifest_whose_landmarks_are_impossible_or_unknown_is_refused(pointed, tmp_path, edit, reason):
    with (
        pytest.raises(BundleError, match=reason),
        Translator(edited(pointed, tmp_path / "bundle", edit), backend="onnxruntime") as translator,
    ):
        translator.landmarks(image(1))


def test_graphs_that_run_on_every_source_count_in_the_memory_of_a_bundle(pointed, tmp_path):
    """Twice their files, as for graphs that make styles, and their values with the engine's scratch; the masks of each
    image of a batch beside the image."""

    def sized(raw) -> None:
        raw["landmarks"]["working"], raw["extra_inputs"][0]["working"] = 10_000_000, 1_000_000

    bundle, engine = open_bundle(edited(pointed, tmp_path / "bundle", sized)), ENGINES["onnxruntime"]
    [variant] = [one for one in bundle.manifest.variants if one.file == "generator/plain-fp32.onnx"]
    plain = msgspec.structs.replace(
        bundle, manifest=msgspec.structs.replace(bundle.manifest, extra_inputs=(), landmarks=None)
    )
    files = bundle.graph_bytes("landmarks.onnx") + bundle.graph_bytes("masks.onnx")
    more = 2 * files + engine.scratch * 11_000_000
    assert held_need(bundle, engine, variant) - held_need(plain, engine, variant) == pytest.approx(more, abs=1)
    announced = held_need(bundle, engine, variant, beside=["landmarks.onnx"])
    assert announced == held_need(bundle, engine, variant)  # they are not counted twice
    one, none = (image_need(each, engine, variant, SIDE, 2 * SIDE) for each in (bundle, plain))
    assert one - none == 2 * (2 * 16 * 16 * 4)


def test_inspect_says_what_runs_once_a_source(pointed):
    result = CliRunner().invoke(root, ["inspect", str(pointed)], standalone_mode=False)
    assert result.exit_code == 0, result.output
    assert "per source     landmarks.onnx makes heatmaps, masks.onnx makes masks" in result.output


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_landmark_network_of_a_bundle_is_opened_alone_for_align(pointed, monkeypatch, backend):
    others = {name for name in ENGINES if name != backend}
    for name in others:
        monkeypatch.setattr(type(ENGINES[name]), "absent", lambda self: Absence("not installed", pip_helps=True))
    opened, real = list[str](), type(ENGINES[backend]).open

    def open_graph(self, graph, options):
        opened.append(graph.path.name)
        return real(self, graph, options)

    monkeypatch.setattr(type(ENGINES[backend]), "open", open_graph)
    source = image(200, 8, height=48)
    with open_heatmaps(pointed) as (find_heatmaps, facts):
        heatmaps = find_heatmaps(source)
    assert opened == ["landmarks.onnx"]  # not the frame graph, and no contest of engines
    assert facts == {"landmarks": open_bundle(pointed).sha256}
    with Translator(pointed, backend=backend) as translator:
        assert np.array_equal(heatmaps, translator.heatmaps(source))


def test_align_without_an_engine_for_a_bundles_landmarks_says_what_to_install(pointed, monkeypatch):
    for name in ENGINES:
        monkeypatch.setattr(type(ENGINES[name]), "absent", lambda self: Absence("not installed", pip_helps=True))
    with pytest.raises(MissingExtraError, match=r"pip install 'starcast\[openvino\]'"), open_heatmaps(pointed):
        pass
