"""A bundle whose only frame graph is ncnn's takes masks, which ONNX graphs beside it make of the source."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from graph_text import write_graph_text
from heatmap_graph import HEATMAPS

from starcast.errors import BundleError, StarcastError
from starcast.runtime.bundle import sha256_of
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.manifest import MANIFEST, ExtraInput, FileFacts, LandmarkMaker, Manifest
from starcast.runtime.manifest_json import encode
from starcast.runtime.translator import Translator

pytestmark = pytest.mark.skipif(ENGINES["ncnn"].absent() is not None, reason="ncnn is not installed")

SIDE = 32
# The style's colour is added where the second mask, which has half the size, is 1
FRAME = """7767517
9 9
Input image 0 1 image 0=32 1=32 2=3
Input gamma_beta 0 1 gamma_beta 0=3
Input masks 0 1 masks 0=16 1=16 2=2
Reshape column 1 1 gamma_beta column 0=1 1=1 2=-1
Crop second 1 1 masks second -23309=1,1 -23310=1,2 -23311=1,0
Interp large 1 1 second large 0=1 1=2.0 2=2.0
BinaryOp added 2 1 large column added 0=2
ReLU kept 1 1 added kept 0=1.0
BinaryOp translation 2 1 image kept translation 0=0
"""
# The second mask is 1 where the first heatmap, the source's red, is above a half
MASKS = """
<ir_version: 8, opset_import: ["": 17]>
masks (float[N, 2, 16, 16] heatmaps) => (float[N, 2, 16, 16] masks)
<int64[2] one = {1, 1}, float half = {127.5}>
{
    red, green = Split <axis = 1> (heatmaps, one)
    above = Greater (red, half)
    mask = Cast <to = 1> (above)
    masks = Concat <axis = 1> (green, mask)
}
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory, ncnn_bundle: Path) -> Path:
    """`ncnn_bundle` with masks. Do not write into it."""
    folder = tmp_path_factory.mktemp("faces") / "bundle"
    shutil.copytree(ncnn_bundle, folder)
    (folder / "generator/plain.param").write_text(FRAME)
    write_graph_text(folder / "landmarks.onnx", HEATMAPS)
    write_graph_text(folder / "masks.onnx", MASKS)
    return with_files(folder)


def with_files(folder: Path) -> Path:
    """A bundle whose manifest has the masks, and its files' hashes."""
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    files = {
        path.relative_to(folder).as_posix(): FileFacts(sha256=sha256_of(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    masks = ExtraInput(name="masks", reads="heatmaps", graph="masks.onnx", channels=2, height=16, width=16)
    landmarks = LandmarkMaker(graph="landmarks.onnx", points=2, height=16, width=16)
    changed = msgspec.structs.replace(manifest, landmarks=landmarks, extra_inputs=(masks,), files=files)
    (folder / MANIFEST).write_bytes(encode(changed))
    return folder


def draw_source(height: int, width: int) -> np.ndarray:
    pixels = np.full((height, width, 3), 60, np.uint8)
    pixels[height // 2 :, :, 0] = 200
    return pixels


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 32), (96, 160)])
def test_ncnn_translates_with_the_masks_of_each_source_at_every_size(faces, height, width):
    sources = np.stack([draw_source(height, width), np.full((height, width, 3), 60, np.uint8)])
    with Translator(faces, backend="ncnn") as translator:
        style = translator.style("dog", seed=1)
        got = translator(sources, style)
        colour = translator(draw_source(32, 32), style)[-1, 0].astype(int) - draw_source(32, 32)[-1, 0]
        assert translator.extra_cost.sources == 3 - (height == width == 32)
    assert colour.any()
    # masks of another size than 16x16 are interpolated: away from the edge, they are 0 or 1
    assert np.array_equal(got[0, : height // 2 - 8], sources[0, : height // 2 - 8])
    assert np.array_equal(got[0, height // 2 + 8 :], sources[0, height // 2 + 8 :] + colour)
    assert np.array_equal(got[1], sources[1])


def test_ncnns_bundle_finds_landmarks(faces):
    source = np.zeros((SIDE, SIDE, 3), np.uint8)
    source[16, 8, :2] = 200, 100
    with Translator(faces, backend="ncnn") as translator:
        assert np.allclose(translator.landmarks(source), [(9, 17), (9, 17)])


@pytest.mark.parametrize("file", ["landmarks.onnx", "masks.onnx", "generator/plain.param"])
def test_a_damaged_or_missing_graph_of_faces_is_one_sentence(faces, tmp_path, file):
    for name, break_it in (("damaged", lambda path: path.write_bytes(b"x")), ("missing", Path.unlink)):
        folder = tmp_path / name
        shutil.copytree(faces, folder)
        break_it(folder / file)
        with pytest.raises(BundleError, match=file), Translator(folder, backend="ncnn") as translator:
            translator(draw_source(32, 32), translator.style("dog", seed=1))


MASKLESS = """7767517
4 4
Input image 0 1 image
Input gamma_beta 0 1 gamma_beta 0=3
Reshape column 1 1 gamma_beta column 0=1 1=1 2=-1
BinaryOp translation 2 1 image column translation 0=0
"""
SMALLER = HEATMAPS.replace("sides = {16, 16}", "sides = {8, 16}").replace("2, 16, 16] heat", "2, 8, 16] heat")
ONE_MASK = MASKS.replace("Concat <axis = 1> (green, mask)", "Identity (mask)").replace(
    "2, 16, 16] masks", "1, 16, 16] masks"
)
SHAPES = [
    ("masks.onnx", ONE_MASK, r"masks\.onnx makes float32 \[1, 1, 16, 16\] instead of float32 \[1, 2, 16, 16\]"),
    ("landmarks.onnx", SMALLER, r"landmarks\.onnx makes float32 \[1, 2, 8, 16\] instead of"),
    (
        "generator/plain.param",
        FRAME.replace("1=16 2=2", "1=16 2=3"),
        r"plain\.param has the input masks \[\?, 3, \?, \?\]",
    ),
    ("generator/plain.param", MASKLESS, r"plain\.param with masks, which it does not take"),
    (
        "generator/plain.param",
        FRAME.replace("0=16 1=16", "0=32 1=32").replace("=2.0", "=1.0"),
        "with masks of the shape",
    ),
]


@pytest.mark.parametrize(("file", "text", "reason"), SHAPES, ids=[reason for _, _, reason in SHAPES])
def test_a_graph_of_another_shape_than_the_manifests_is_one_sentence(faces, tmp_path, file, text, reason):
    folder = tmp_path / "bundle"
    shutil.copytree(faces, folder)
    if file.endswith(".onnx"):
        write_graph_text(folder / file, text)
    else:
        (folder / file).write_text(text)
    with_files(folder)
    with pytest.raises(StarcastError, match=reason), Translator(folder, backend="ncnn") as translator:
        translator(draw_source(32, 32), translator.style("dog", seed=1))
