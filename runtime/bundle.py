"""A bundle: a folder of ONNX graphs and one manifest, which describes roles and not families of networks.

Opening one executes nothing from it. Its files are used only after their hashes have been checked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import msgspec

from starcast.atomic import repair_folder
from starcast.errors import BundleError

FORMAT = 2  # 1: the first; 2: variants that take scales and shifts, or one style only
MANIFEST = "manifest.json"
WEIGHTS = ".data"  # suffix of the files that ONNX graphs keep large weights in
NCNN_GRAPH, NCNN_WEIGHTS = ".param", ".bin"
LARGEST_MANIFEST = 16 * 2**20  # bytes; a real one has some thousands

Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The picture that is translated: uint8 RGB, NHWC. Sides are multiples of `stride`; `height` and `width` are the
    size that the network was trained at."""

    channels: Positive
    height: Positive
    width: Positive
    stride: Positive


class LatentMaker(msgspec.Struct, frozen=True, kw_only=True):
    """graph: `latent` float32 [N, size], `domain` int64 [N] -> `style` float32 [N, S]."""

    graph: str
    size: Positive


class ReferenceMaker(msgspec.Struct, frozen=True, kw_only=True):
    """graph: `image` uint8 [N, height, width, 3] RGB, `domain` int64 [N] -> `style` float32 [N, S]."""

    graph: str
    height: Positive
    width: Positive


class LabelMaker(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions given as named numbers (StarGAN v1's attributes)."""

    names: tuple[str, ...]


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """The vector of `size` numbers that steers a translation, and the ways to make one.

    `means` is an .npz with the array `mean` float32 [domains, size]: each domain's mean over `mean_draws` latents.
    `product` is the graph `style` float32 [N, size] -> `gamma_beta` float32 [N, T]: the norms' scales and shifts,
    for variants that take them instead of the style.
    """

    size: Positive
    product: str | None = None
    latent: LatentMaker | None = None
    reference: ReferenceMaker | None = None
    labels: LabelMaker | None = None
    means: str | None = None
    mean_draws: int | None = None


class ExtraInput(msgspec.Struct, frozen=True, kw_only=True):
    """A further input of the frame graph: a mask or noise."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What the export's gate measured against PyTorch, over `pictures` pictures in batches of `batches`.

    `worst` is max |a - b| / max(1, |b|) before the last Round, in the network's own units (-1..1); `levels` the
    largest difference of the written bytes.
    """

    worst: float
    tolerance: float
    levels: int
    pictures: int
    batches: tuple[int, ...]
    flat_levels: int | None = None  # the same on pictures of one colour, where engines lose digits; None: not measured


class DomainQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How near the translations into one domain are to float32's, of their bytes: PSNR in dB (peak 255; 100 where all
    are equal) and SSIM, over pictures that nothing was calibrated on."""

    pictures: int
    psnr_mean: float
    psnr_worst: float
    ssim_mean: float
    ssim_worst: float


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate of a precision below float32 measured, the worst of the variant's engines, by domain."""

    domains: dict[str, DomainQuality]


class KeptLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that a quantised variant leaves in float32, in its `rest`, or in fp16 where it is TensorRT's: its share
    of the FLOP, and the PSNR that it brings (dB, on the pictures of the search, on top of those kept before it)."""

    layer: str
    flop_share: float
    psnr_gain: float


class Norm(msgspec.Struct, frozen=True, kw_only=True):
    """How a variant with fused norms takes one norm's statistics. One pass is E[x²] - E[x]², exact enough in float32
    while `ratio`, the largest |mean| / std of a channel on the calibration's pictures and some of one colour, is small;
    two passes always are.
    `centred`: the convolution in front subtracts the channels' usual means, which the ratio counts in."""

    name: str
    statistics: Literal["one-pass", "two-pass"]
    ratio: float
    centred: bool = False


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One frame graph: `image` uint8 [N, H, W, 3] and a condition -> uint8 [N, H, W, 3], called `translation`.

    The condition is `style` float32 [N or 1, size], or what the bundle's product makes of it, `gamma_beta` float32
    [N or 1, T]; with `one_style` always 1, one for the whole batch.
    """

    file: str
    backends: tuple[str, ...]
    form: str
    precision: str
    rest: Literal["bf16"] | None = None  # what an engine is to take the float32 beside int8's codes for; None: as it is
    condition: Literal["style", "gamma_beta"] = "style"
    one_style: bool = False
    max_batch: Positive | None = None  # None: any
    sizes: tuple[tuple[int, int], ...] | None = None  # None: every multiple of the source's stride
    parity: Parity | None = None  # of float32
    quality: Quality | None = None  # of a precision below it
    kept: tuple[KeptLayer, ...] = ()
    norms: tuple[Norm, ...] = ()  # where norms are written for a compiler that fuses them; empty: the engine's own
    flop: int  # a picture at the trained size, 2 a multiply-add, convolutions only
    bytes: int  # of the graph and the weights that it reads
    working: int | None = None  # bytes of its values that are alive at once, for a picture at the trained size
    rewrites: dict[str, int] = {}  # exact rewrites by name, and how often each was applied

    @property
    def arithmetic(self) -> str:
        """`int8`, or `int8+bf16`."""
        return self.precision if self.rest is None else f"{self.precision}+{self.rest}"


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bundle comes from."""

    family: str
    layout: str
    checkpoint: str
    checkpoint_sha256: str
    step: int | None
    dataset: str | None
    options: dict[str, Any] | None
    starcast: str
    torch: str
    created: str


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of the bundle must be."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """manifest.json."""

    format: int
    source: Source | None
    condition: Condition
    extra_inputs: tuple[ExtraInput, ...] = ()
    domains: tuple[str, ...]
    variants: tuple[Variant, ...]
    provenance: Provenance
    files: dict[str, FileFacts]


@dataclass(frozen=True)
class Bundle:
    """A folder whose manifest has been read and whose files are there."""

    path: Path
    manifest: Manifest
    sha256: str  # of manifest.json, which holds the hash of every file: it stands for the whole bundle

    def file(self, name: str) -> Path:
        """The path of a file of the bundle, after its hash has been checked. Raises BundleError when it differs."""
        facts = self._facts(name)  # first: a name that is not listed has not been checked to lie inside
        path = self.path / name
        if sha256_of(path) != facts.sha256:
            raise BundleError(f"{path} has changed since it was exported: export the bundle again")
        return path

    def graph(self, name: str) -> tuple[Path, str]:
        """The path of a graph, and one hash that stands for it and the weights beside it, all of them checked."""
        path = self.file(name)
        digest = hashlib.sha256(self._facts(name).sha256.encode())
        for other in self._weights_of(PurePosixPath(name)):
            self.file(other)
            digest.update(f"{other} {self._facts(other).sha256}".encode())
        return path, digest.hexdigest()

    def graph_bytes(self, name: str) -> int:
        """How large a graph is, with the weights beside it."""
        return sum(self._facts(file).bytes for file in (name, *self._weights_of(PurePosixPath(name))))

    def _weights_of(self, graph: PurePosixPath) -> list[str]:
        """A file of the graph's own name, or of that before its last dash, where there is one (the same weights with
        another `rest`); else what the ONNX graphs of its folder share."""
        if graph.suffix == NCNN_GRAPH:
            return [str(graph.with_suffix(NCNN_WEIGHTS))]
        for stem in (graph.stem, graph.stem.rpartition("-")[0]):
            own = str(graph.with_name(f"{stem}{WEIGHTS}"))
            if own in self.manifest.files:
                return [own]
        files = map(PurePosixPath, sorted(self.manifest.files))
        return [str(file) for file in files if file.parent == graph.parent and file.suffix == WEIGHTS]

    def _facts(self, name: str) -> FileFacts:
        facts = self.manifest.files.get(name)
        if facts is None:
            raise BundleError(f"{self.path}: the manifest does not list {name!r}: export the bundle again")
        return facts


def open_bundle(path: Path) -> Bundle:
    """Read a bundle's manifest and see that its files are there. Raises BundleError."""
    path = Path(path)
    repair_folder(path)
    manifest_path = path / MANIFEST
    if not path.is_dir() or not manifest_path.is_file():
        raise BundleError(
            f"{path} is not a bundle ({_why_not(path)}): make one with `starcast export CHECKPOINT -o BUNDLE`"
        )
    if manifest_path.stat().st_size > LARGEST_MANIFEST:
        raise BundleError(f"{manifest_path} is larger than any manifest: it is not starcast's")
    content = manifest_path.read_bytes()
    manifest = _decode(manifest_path, content)
    root = path.resolve()
    for name, facts in manifest.files.items():
        _check_name(manifest_path, name)
        _check_file(path / name, facts, root)
    return Bundle(path, manifest, hashlib.sha256(content).hexdigest())


def encode(manifest: Manifest) -> bytes:
    """manifest.json as bytes, indented."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def sha256_of(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _decode(path: Path, content: bytes) -> Manifest:
    try:
        declared = json.loads(content).get("format")
    except (ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path} is not a manifest in JSON ({error}): export the bundle again") from error
    if not isinstance(declared, int) or declared < 1:
        raise BundleError(f"{path} has no format number, so it is not starcast's: export the bundle again")
    if declared > FORMAT:
        raise BundleError(f"{path} has format {declared}, newer than this starcast knows ({FORMAT}): update starcast")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(f"{path} is damaged ({error}): export the bundle again") from error
    names = manifest.domains
    if not names or len(set(names)) < len(names) or not all(name and name.isprintable() for name in names):
        raise BundleError(f"{path} is damaged (its domains are {list(names)}): export the bundle again")
    return manifest


def _check_name(manifest: Path, name: str) -> None:
    """A file name in a manifest may not lead out of the bundle."""
    parts = PurePosixPath(name).parts
    odd = "\\" in name or ":" in name or not name.isprintable()
    if odd or not parts or PurePosixPath(name).is_absolute() or ".." in parts:
        raise BundleError(f"{manifest} names the file {name!r}, which lies outside the bundle: do not use this bundle")


def _check_file(file: Path, facts: FileFacts, root: Path) -> None:
    """The file is there, has its size, and no link leads from it out of the folder `root`."""
    if not file.is_file():
        raise BundleError(f"{file} is missing: copy the whole folder again, or export it again")
    if not file.resolve().is_relative_to(root):
        raise BundleError(f"{file} is a link that leads out of the bundle: copy the file itself into it")
    size = file.stat().st_size
    if size != facts.bytes:
        raise BundleError(
            f"{file} has {size} bytes instead of {facts.bytes}: copy the whole folder again, or export it again"
        )


def _why_not(path: Path) -> str:
    if not path.exists():
        return "it does not exist"
    if path.is_file():
        return "it is a file"
    return f"it has no {MANIFEST}"
