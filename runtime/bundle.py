"""A bundle: a folder of ONNX graphs and one manifest, which describes roles and not families of networks.

Opening one executes nothing from it. Its files are used only after their hashes have been checked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from starcast.atomic import repair_folder
from starcast.errors import BundleError

FORMAT = 1  # 1: the first
MANIFEST = "manifest.json"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The picture that is translated: uint8 RGB, NHWC. Sides are multiples of `stride`; `height` and `width` are the
    size that the network was trained at."""

    channels: int
    height: int
    width: int
    stride: int


class LatentMaker(msgspec.Struct, frozen=True, kw_only=True):
    """graph: `latent` float32 [N, size], `domain` int64 [N] -> `style` float32 [N, S]."""

    graph: str
    size: int


class ReferenceMaker(msgspec.Struct, frozen=True, kw_only=True):
    """graph: `image` uint8 [N, height, width, 3] RGB, `domain` int64 [N] -> `style` float32 [N, S]."""

    graph: str
    height: int
    width: int


class LabelMaker(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions given as named numbers (StarGAN v1's attributes)."""

    names: tuple[str, ...]


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """The vector of `size` numbers that steers a translation, and the ways to make one.

    `means` is an .npz with the array `mean` float32 [domains, size]: each domain's mean over `mean_draws` latents.
    """

    size: int
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


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One frame graph: `image` uint8 [N, H, W, 3], `style` float32 [N or 1, S] -> `image` uint8 [N, H, W, 3]
    (output name `translation`)."""

    file: str
    backends: tuple[str, ...]
    form: str
    precision: str
    max_batch: int | None = None  # None: any
    sizes: tuple[tuple[int, int], ...] | None = None  # None: every multiple of the source's stride
    parity: Parity
    flop: int  # a picture at the trained size, 2 a multiply-add, convolutions only
    bytes: int


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
        facts = self.manifest.files.get(name)
        if facts is None:
            raise BundleError(f"{self.path}: the manifest does not list {name}: export the bundle again")
        path = self.path / name
        if sha256_of(path) != facts.sha256:
            raise BundleError(f"{path} has changed since it was exported: export the bundle again")
        return path


def open_bundle(path: Path) -> Bundle:
    """Read a bundle's manifest and see that its files are there. Raises BundleError."""
    path = Path(path)
    repair_folder(path)
    manifest_path = path / MANIFEST
    if not path.is_dir() or not manifest_path.is_file():
        raise BundleError(
            f"{path} is not a bundle ({_why_not(path)}): make one with `starcast export CHECKPOINT -o BUNDLE`"
        )
    content = manifest_path.read_bytes()
    manifest = _decode(manifest_path, content)
    for name, facts in manifest.files.items():
        _check_name(manifest_path, name)
        file = path / name
        if not file.is_file() or file.stat().st_size != facts.bytes:
            state = "is missing" if not file.is_file() else f"has {file.stat().st_size} bytes instead of {facts.bytes}"
            raise BundleError(f"{file} {state}: copy the whole folder again, or export it again")
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
    except (ValueError, AttributeError) as error:
        raise BundleError(f"{path} is not JSON ({error}): export the bundle again") from error
    if not isinstance(declared, int):
        raise BundleError(f"{path} has no format number, so it is not starcast's: export the bundle again")
    if declared > FORMAT:
        raise BundleError(f"{path} has format {declared}, newer than this starcast knows ({FORMAT}): update starcast")
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"{path} is damaged ({error}): export the bundle again") from error


def _check_name(manifest: Path, name: str) -> None:
    """A file name in a manifest may not lead out of the bundle."""
    parts = PurePosixPath(name).parts
    if not parts or "\\" in name or ":" in name or PurePosixPath(name).is_absolute() or ".." in parts:
        raise BundleError(f"{manifest} names the file {name!r}, which lies outside the bundle: do not use this bundle")


def _why_not(path: Path) -> str:
    if not path.exists():
        return "it does not exist"
    if path.is_file():
        return "it is a file"
    return f"it has no {MANIFEST}"
