"""A bundle: a folder of ONNX graphs and one manifest.

Opening one executes nothing from it. Its files are used only after their hashes have been checked.
"""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path, PurePosixPath

import msgspec

from starcast.atomic import repair_folder
from starcast.errors import BundleError, OptionError, printable
from starcast.runtime.manifest import MANIFEST, FileFacts, Manifest, Source
from starcast.runtime.manifest_json import decode

# Some file systems (FAT) store times this coarsely: a file younger than this may change and keep its time.
SETTLED_NS = 2 * 10**9
LONGEST_NAME = 240  # bytes of a file's path in the bundle; file systems take 255 in a name
LARGEST_MANIFEST = 16 * 2**20  # bytes; a real one has a few thousand


class Bundle(msgspec.Struct, frozen=True):
    """An opened bundle: its manifest has been read, and its files exist."""

    path: Path
    manifest: Manifest
    sha256: str  # of manifest.json, which lists every file's hash, so it identifies the whole bundle

    @property
    def source(self) -> Source:
        """The kind of image that the bundle translates. Raises BundleError if it makes images from styles alone."""
        source = self.manifest.source
        if source is None:
            raise BundleError(
                f"{self.path} makes images from styles alone, and takes no source: use `starcast generate`, or "
                "`starcast morph` for a video"
            )
        return source

    def check_source(self) -> None:
        """Raise BundleError if the bundle makes images from styles alone."""
        _ = self.source

    def file(self, name: str) -> Path:
        """The path of a file of the bundle, after its hash has been checked. Raises BundleError when it differs."""
        facts = self._facts(name)  # first, because only listed names have been checked to lie inside the bundle
        path = self.path / name
        if _hash_once(path) != facts.sha256:
            raise BundleError(f"{path} has changed since it was exported: export the bundle again")
        return path

    def graph(self, name: str) -> tuple[Path, str]:
        """The path of a graph, and one hash for it and its weight files; every file's own hash has been checked."""
        path = self.file(name)
        digest = hashlib.sha256(self._facts(name).sha256.encode())
        for other in self.manifest.weights_of(name):
            self.file(other)
            digest.update(f"{other} {self._facts(other).sha256}".encode())
        return path, digest.hexdigest()

    def weights(self, name: str) -> tuple[Path, ...]:
        """The paths of a graph's weight files, which `graph` has checked."""
        return tuple(self.path / file for file in self.manifest.weights_of(name))

    def graph_bytes(self, name: str) -> int:
        """The size of a graph with its weight files."""
        return sum(self._facts(file).bytes for file in (name, *self.manifest.weights_of(name)))

    def _facts(self, name: str) -> FileFacts:
        facts = self.manifest.files.get(name)
        if facts is None:
            raise BundleError(f"{self.path}: the manifest does not list {name!r}: export the bundle again")
        return facts


def open_bundle(path: Path) -> Bundle:
    """Read a bundle's manifest and check that its files are there. Raises BundleError."""
    path = Path(path)
    if re.match(r"[a-z][a-z0-9+.-]+:[/\\]", str(path), re.IGNORECASE) and not path.exists():
        raise BundleError(f"{path} is an address, and nothing is downloaded: download the folder, and give its path")
    repair_folder(path)
    manifest_path = path / MANIFEST
    if not path.is_dir() or not manifest_path.is_file():
        raise BundleError(
            f"{path} is not a bundle ({_why_not(path)}): make one with `starcast export CHECKPOINT -o BUNDLE`"
        )
    if manifest_path.stat().st_size > LARGEST_MANIFEST:
        raise BundleError(f"{manifest_path} is too large for a manifest: it is not starcast's")
    content = manifest_path.read_bytes()
    manifest = decode(content, manifest_path)
    root = path.resolve()
    for name, facts in manifest.files.items():
        _check_name(manifest_path, name)
        _check_file(path / name, facts, root)
    return Bundle(path, manifest, hashlib.sha256(content).hexdigest())


def refuse_to_write_into(output: Path) -> None:
    """Raise OptionError if a path for output is a bundle, or is below one: nothing but its own files belongs there."""
    for folder in (output, *output.resolve().parents):
        if listed_files(folder):
            raise OptionError(f"{printable(folder)} is a bundle: choose another -o")


def listed_files(folder: Path) -> set[str]:
    """The files that a bundle's manifest lists, and the manifest; empty if the folder is no bundle.

    Reads plain JSON, not a typed Manifest, so that a bundle of another format, or a damaged one, counts too.
    """
    try:
        if (folder / MANIFEST).stat().st_size > LARGEST_MANIFEST:
            return set()
        content = msgspec.json.decode((folder / MANIFEST).read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return set()
    if not isinstance(content, dict) or not {"format", "variants", "files"} <= content.keys():
        return set()
    return {MANIFEST, *content["files"]} if isinstance(content["files"], dict) else set()


def sha256_of(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_hashes: dict[tuple[int, ...], str] = {}  # by a file's state (`_state_of`) when it was hashed


def _hash_once(path: Path) -> str:
    """The hash of a file, computed again only if the file may have changed since the last time."""
    state = _state_of(path)
    known = _hashes.get(state)
    if known is not None:
        return known
    digest = sha256_of(path)
    *_, modified, changed = state
    if time.time_ns() - max(modified, changed) > SETTLED_NS and _state_of(path) == state:
        _hashes[state] = digest
    return digest


def _state_of(path: Path) -> tuple[int, ...]:
    """Values that change when a file is replaced or written to: its place on the disk, its size, its times in ns."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _check_name(manifest: Path, name: str) -> None:
    """Raise BundleError if a file name in a manifest leads out of the bundle."""
    parts = PurePosixPath(name).parts
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        raise BundleError(f"{manifest} lists a file name of {len(name)} characters: do not use this bundle")
    odd = "\\" in name or ":" in name or not name.isprintable()
    if odd or not parts or PurePosixPath(name).is_absolute() or ".." in parts:
        raise BundleError(f"{manifest} names the file {name!r}, which lies outside the bundle: do not use this bundle")


def _check_file(file: Path, facts: FileFacts, root: Path) -> None:
    """Raise BundleError unless the file exists, has its stated size, and lies inside `root` with links resolved."""
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
