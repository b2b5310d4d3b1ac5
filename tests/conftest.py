"""A bundle so small that its translations can be worked out with numpy: what tests of the runtime lean on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from graph_text import write_graph_text
from hypothesis import HealthCheck, settings
from made_once import shared_folder
from ncnn_addition import ADDITION
from numpy.typing import NDArray
from tiny_generator import write_generator_bundle

from starcast.runtime.bundle import sha256_of
from starcast.runtime.manifest import (
    FORMAT,
    MANIFEST,
    Classifier,
    Condition,
    FileFacts,
    GraphFiles,
    LabelMaker,
    LatentMaker,
    Manifest,
    Provenance,
    ReferenceMaker,
    Source,
)
from starcast.runtime.manifest_json import encode
from starcast.runtime.variants import Parity, Variant

# tests that import openvino themselves would report it to its maker; the backend sees to that on its own
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

SIDE, STRIDE, LATENT, STYLE = 32, 4, 4, 8
DOMAINS = ("cat", "dog", "wild")

# Small multiples of powers of two: float32 sums of them are exact, so that engines and numpy agree to the bit.
OFFSETS = (np.arange(STYLE * 3).reshape(STYLE, 3) % 7 - 3).astype(np.float32) * 4
DOMAIN_STYLES = (np.arange(len(DOMAINS) * STYLE).reshape(len(DOMAINS), STYLE) % 5 - 2).astype(np.float32) / 2
FROM_LATENT = (np.arange(LATENT * STYLE).reshape(LATENT, STYLE) % 3 - 1).astype(np.float32) / 4
FROM_COLOUR = (np.arange(3 * STYLE).reshape(3, STYLE) % 4 - 1).astype(np.float32) / 2

GENERATOR = """
<ir_version: 8, opset_import: ["": 17]>
generator (uint8[N, H, W, 3] image, float[M, 8] style) => (uint8[N, H, W, 3] translation)
<float[8, 3] offsets, int64[2] axes = {1, 2}, float low = {0}, float high = {255}>
{
    pixels = Cast <to = 1> (image)
    colour = MatMul (style, offsets)
    offset = Unsqueeze (colour, axes)
    moved = Add (pixels, offset)
    whole = Round (moved)
    clipped = Clip (whole, low, high)
    translation = Cast <to = 2> (clipped)
}
"""
MAPPING = """
<ir_version: 8, opset_import: ["": 17]>
mapping (float[N, 4] latent, int64[N] domain) => (float[N, 8] style)
<float[4, 8] from_latent, float[3, 8] domain_styles>
{
    base = Gather <axis = 0> (domain_styles, domain)
    change = MatMul (latent, from_latent)
    style = Add (base, change)
}
"""
STYLE_ENCODER = """
<ir_version: 8, opset_import: ["": 17]>
style_encoder (uint8[N, 32, 32, 3] image, int64[N] domain) => (float[N, 8] style)
<float[3, 8] from_colour, float[3, 8] domain_styles, float scale = {255}>
{
    base = Gather <axis = 0> (domain_styles, domain)
    pixels = Cast <to = 1> (image)
    mean = ReduceMean <axes = [1, 2], keepdims = 0> (pixels)
    colour = Div (mean, scale)
    change = MatMul (colour, from_colour)
    style = Add (base, change)
}
"""


# a machine that does something else meanwhile is slow, and the tests are right all the same
settings.register_profile("busy machine", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("busy machine")


@pytest.fixture(autouse=True, scope="session")
def ctrl_c() -> Iterator[None]:
    """Ctrl-C means what it means in a terminal, also in `make test &`, where a shell lets processes ignore it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests compile and measure stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def shared_traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A network that any test traced before is not traced again, also by another process of this session."""
    if "starcast.export.trace" not in sys.modules:  # no test that was collected exports; importing it imports torch
        yield
        return
    from shared_traces import traces_shared_in

    with traces_shared_in(shared_folder(tmp_path_factory) / "traces"):
        yield


@dataclass(frozen=True)
class TinyModel:
    """What the graphs of `tiny_bundle` compute, in float64."""

    def latent_style(self, latent: NDArray[np.float32], domain: int) -> NDArray[np.float64]:
        """latent [4] -> style [8]."""
        return DOMAIN_STYLES[domain] + latent.astype(np.float64) @ FROM_LATENT.astype(np.float64)

    def reference_style(self, image: NDArray[np.uint8], domain: int) -> NDArray[np.float64]:
        """image [32, 32, 3] -> style [8]."""
        return DOMAIN_STYLES[domain] + image.mean(axis=(0, 1), dtype=np.float64) / 255 @ FROM_COLOUR.astype(np.float64)

    def mean_style(self, domain: int) -> NDArray[np.float64]:
        """The style of the mean latent, which is 0."""
        return DOMAIN_STYLES[domain].astype(np.float64)

    def translation(self, images: NDArray[np.uint8], style: NDArray[np.floating]) -> NDArray[np.uint8]:
        """images [N, H, W, 3] and style [N or 1, 8] or [8] -> [N, H, W, 3]."""
        offset = np.atleast_2d(style).astype(np.float64) @ OFFSETS.astype(np.float64)
        return np.clip(np.rint(images.astype(np.float64) + offset[:, None, None, :]), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    """The arithmetic of `tiny_bundle`'s graphs."""
    return TinyModel()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle of 32x32 pictures, stride 4, domains cat, dog and wild, latent 4, style 8. Do not write into it:
    `shutil.copytree` it first."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def generator_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a source (tests/support/tiny_generator.py): images of 16x16 RGB from styles [4, 6]. Do not write
    into it."""
    return write_generator_bundle(tmp_path_factory.mktemp("bundles") / "generator")


def write_tiny_bundle(folder: Path) -> Path:
    (folder / "generator").mkdir(parents=True)
    write_graph_text(folder / "generator/plain-fp32.onnx", GENERATOR, offsets=OFFSETS)
    write_graph_text(folder / "mapping.onnx", MAPPING, from_latent=FROM_LATENT, domain_styles=DOMAIN_STYLES)
    write_graph_text(folder / "style_encoder.onnx", STYLE_ENCODER, from_colour=FROM_COLOUR, domain_styles=DOMAIN_STYLES)
    np.savez(folder / "styles.npz", mean=DOMAIN_STYLES)
    (folder / MANIFEST).write_bytes(encode(_manifest(folder)))
    return folder


def _manifest(folder: Path) -> Manifest:
    generator = folder / "generator/plain-fp32.onnx"
    variant = Variant(
        file="generator/plain-fp32.onnx", engines=("openvino", "onnxruntime"), form="plain", precision="fp32",
        parity=Parity(worst=0.0, tolerance=2e-4, levels=0, images=4, batches=(1, 3)), flop=0,
        bytes=generator.stat().st_size,
    )  # fmt: skip
    provenance = Provenance(
        family="test", layout="starcast", checkpoint="tiny.pt", checkpoint_sha256="0" * 64, step=1, dataset=None,
        options=None, starcast="0.1.0", torch="2.14.1", created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return Manifest(
        format=FORMAT,
        source=Source(channels=3, height=SIDE, width=SIDE, stride=STRIDE),
        condition=Condition(
            size=STYLE,
            latent=LatentMaker(graph="mapping.onnx", size=LATENT),
            reference=ReferenceMaker(graph="style_encoder.onnx", height=SIDE, width=SIDE),
            means="styles.npz",
            mean_draws=10_000,
        ),
        domains=DOMAINS,
        variants=(variant,),
        provenance=provenance,
        files={
            name: FileFacts(sha256=sha256_of(folder / name), bytes=(folder / name).stat().st_size) for name in names
        },
    )


@pytest.fixture
def rewrite_manifest():
    """A function (bundle, **changes) that writes a bundle's manifest again with fields replaced, hashes refreshed."""

    def rewrite(bundle: Path, **changes: object) -> None:
        manifest = msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest)
        files = {
            name: FileFacts(sha256=sha256_of(bundle / name), bytes=(bundle / name).stat().st_size)
            for name in manifest.files
        }
        (bundle / MANIFEST).write_bytes(encode(msgspec.structs.replace(manifest, **{"files": files, **changes})))

    return rewrite


CLASSIFIER = """
<ir_version: 8, opset_import: ["": 17]>
classifier (uint8[N, 32, 32, 3] image) => (float[N, L] logits)
<float[3, L] weights, float middle = {128}, float some = {0.5}>
{
    pixels = Cast <to = 1> (image)
    mean = ReduceMean <axes = [1, 2], keepdims = 0> (pixels)
    apart = Sub (mean, middle)
    all = MatMul (apart, weights)
    logits = Sub (all, some)
}
"""
LABELS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young", "Smiling", "Eyeglasses", "Bald")


@pytest.fixture(scope="session")
def label_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function (attributes, classes, reads) -> a copy of `tiny_bundle` steered by that many attributes and classes.
    The label vector must have 8 numbers, including the two bits of a mixture. With `reads`, an image has the first,
    second or third label if its mean red, green or blue is above 128. Do not write into the bundle."""
    made: dict[tuple[int, int, bool], Path] = {}

    def make(attributes: int = 8, classes: int = 0, reads: bool = False) -> Path:
        if (attributes, classes, reads) not in made:
            folder = write_tiny_bundle(tmp_path_factory.mktemp("labels") / "bundle")
            manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
            names = (*LABELS[:attributes], "angry", "happy", "sad", "calm", "bored", "shy", "proud", "cross")
            names = names[: attributes + classes]
            classifier = None
            if reads:
                weights = np.zeros((3, len(names)), np.float32)
                weights[:, :3] = np.eye(3)
                write_graph_text(folder / "classifier.onnx", CLASSIFIER, weights=weights)
                classifier = Classifier(graph="classifier.onnx", height=SIDE, width=SIDE)
            labels = LabelMaker(names=names, classes=classes, classifier=classifier)
            condition = Condition(size=STYLE, labels=labels)
            files = {
                path.relative_to(folder).as_posix(): FileFacts(sha256=sha256_of(path), bytes=path.stat().st_size)
                for path in sorted(folder.rglob("*"))
                if path.is_file() and path.name != MANIFEST
            }
            manifest = msgspec.structs.replace(manifest, condition=condition, domains=names, files=files)
            (folder / MANIFEST).write_bytes(encode(manifest))
            made[attributes, classes, reads] = folder
        return made[attributes, classes, reads]

    return make


# ncnn's generator of `tiny_bundle` is `ncnn_addition`; this graph makes its numbers of the style
PRODUCT = """
<ir_version: 8, opset_import: ["": 17]>
product (float[N, 8] style) => (float[N, 3] gamma_beta)
<float[8, 3] offsets>
{
    gamma_beta = MatMul (style, offsets)
}
"""


@pytest.fixture(scope="session")
def ncnn_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_bundle` with its generator for ncnn alone. Do not write into it."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "ncnn")
    (folder / "generator/plain-fp32.onnx").unlink()
    (folder / "generator/plain.param").write_text(ADDITION)
    (folder / "generator/plain.bin").write_bytes(b"")
    write_graph_text(folder / "product.onnx", PRODUCT, offsets=OFFSETS)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {
        name: FileFacts(sha256=sha256_of(folder / name), bytes=(folder / name).stat().st_size)
        for name in names if name != MANIFEST
    }  # fmt: skip
    variant = msgspec.structs.replace(
        manifest.variants[0], file="generator/plain.param", weights=("generator/plain.bin",), engines=("ncnn",),
        condition="gamma_beta",
    )  # fmt: skip
    condition = msgspec.structs.replace(manifest.condition, product=GraphFiles(graph="product.onnx"))
    changed = msgspec.structs.replace(manifest, variants=(variant,), condition=condition, files=files)
    (folder / MANIFEST).write_bytes(encode(changed))
    return folder
