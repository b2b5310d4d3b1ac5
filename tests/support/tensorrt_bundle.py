"""A tiny bundle with a graph for TensorRT, small enough to be built in a second."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import onnx.parser

from starcast.runtime.bundle import sha256_of
from starcast.runtime.manifest import MANIFEST, FileFacts, Manifest
from starcast.runtime.manifest_json import encode
from starcast.runtime.variants import Variant

GRAPH = "generator/taps16-fused-fp16.onnx"
# brighter by what a style asks for, in half precision; the weights are beside the graph, as in a real bundle
_TEXT = """
<ir_version: 8, opset_import: ["": 17]>
generator (uint8[N, H, W, 3] image, float[M, 8] style) => (uint8[N, H, W, 3] translation)
<float[8, 3] offsets, int64[2] axes = {1, 2}, float low = {0}, float high = {255}>
{
    pixels = Cast <to = 10> (image)
    colour = MatMul (style, offsets)
    planes = Unsqueeze (colour, axes)
    offset = Cast <to = 10> (planes)
    moved = Add (pixels, offset)
    wide = Cast <to = 1> (moved)
    whole = Round (wide)
    clipped = Clip (whole, low, high)
    translation = Cast <to = 2> (clipped)
}
"""


def with_tensorrt_graph(bundle: Path, folder: Path, **changes: object) -> Path:
    """A copy of `tiny_bundle` in `folder` that has a variant for both TensorRTs, changed as `changes` say."""
    shutil.copytree(bundle, folder)
    model = onnx.parser.parse_model(_TEXT)
    source = onnx.load(folder / "generator/plain-fp32.onnx")
    [offsets] = [one for one in source.graph.initializer if one.name == "offsets"]
    model.graph.initializer.append(offsets)
    onnx.save(model, folder / GRAPH, save_as_external_data=True, location="taps16-fused-fp16.data", size_threshold=0)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    weights = GRAPH.replace(".onnx", ".data")
    variant = Variant(
        file=GRAPH, weights=(weights,), engines=("tensorrt", "tensorrt-rtx"), form="taps16", precision="fp16", flop=0,
        bytes=(folder / GRAPH).stat().st_size,
    )  # fmt: skip
    new = {GRAPH, weights}
    files = {
        name: FileFacts(sha256=sha256_of(folder / name), bytes=(folder / name).stat().st_size)
        for name in sorted(new | set(manifest.files))
    }
    variants = (*manifest.variants, msgspec.structs.replace(variant, **changes))
    (folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(manifest, variants=variants, files=files)))
    return folder


def with_tensorrt_variant(bundle: Path, folder: Path, **changes: object) -> Path:
    """A copy of a bundle in `folder` whose only frame graph is for both TensorRTs."""
    shutil.copytree(bundle, folder)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    [known] = manifest.variants
    variant = msgspec.structs.replace(
        known, engines=("tensorrt", "tensorrt-rtx"), precision="fp16", parity=None, **changes
    )  # fmt: skip
    (folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(manifest, variants=(variant,))))
    return folder
