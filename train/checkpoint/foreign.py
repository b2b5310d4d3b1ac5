"""Descriptions of files that are not checkpoints: half a sentence for an error, and what to do next."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from starcast.train.families import FAMILIES, family

GIVE_ONE = "give a starcast checkpoint, or an official *_nets_ema.ckpt or *-G.ckpt"

LOOK_BYTES = 2**20  # of a pickle's start, to tell whose it is

# first bytes -> kind of file
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "a WebP image or a WAV file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x89HDF": "an HDF5 file (Keras or TensorFlow)",
    b"\x08": "an ONNX graph",
    b"version https://git-lfs": "a Git LFS pointer (`git lfs pull` fetches the real file)",
    b"<": "a web page or XML, perhaps from a failed download",
}

# what zipfile raises for damaged bytes, names that are not text, unknown methods and passwords
_BAD_ARCHIVE = (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error)


def describe_file(path: Path) -> str:
    """Half a sentence on what an unreadable file seems to be, judging by its bytes."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return "is empty"
    if _is_archive(path):
        names = _names_within(path)
        if any(name.endswith("/constants.pkl") for name in names):
            return "is a TorchScript archive, a program rather than weights (torch.save stores the state_dicts)"
        return "is a zip archive" if names and not any(name.endswith("data.pkl") for name in names) else "is damaged"
    page = head.removeprefix(b"\xef\xbb\xbf").lstrip()  # pages may begin with blank lines
    if page.startswith(b"<") and b"google" in head.lower() and b"drive" in head.lower():
        return "is a page of Google Drive instead of the file (open the link in a browser and confirm the download)"
    for magic, kind in _MAGIC.items():
        if (page if magic == b"<" else head).startswith(magic):
            return f"is {kind}"
    if head.startswith(b"PK"):
        return "is truncated"
    if head[8:9] == b"{" and b'"dtype"' in head:
        return "is a safetensors file"
    if head.startswith(b"\x80"):
        return "is a pickle that is damaged or holds no tensors"
    printable = sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in head)
    return "is a text file" if printable > 0.9 * len(head) else "is not a file that torch can read"


def find_damaged_part(path: Path) -> str | None:
    """The first part of a zip archive with a wrong checksum, or None. torch's reader does not check them."""
    if not _is_archive(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except _BAD_ARCHIVE as error:  # a damaged header within the archive
        return str(error)


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # it looks like one disk of a multi-disk archive
        return True


def _names_within(path: Path) -> list[str]:
    """Names of an archive's parts; empty if its table of contents is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except _BAD_ARCHIVE:
        return []


def holds_objects(path: Path, complaint: str) -> bool:
    """True for an intact pickle that torch refuses because of its contents."""
    with path.open("rb") as file:
        pickled = file.read(1) == b"\x80"
    return (pickled or _is_archive(path)) and ("GLOBAL" in complaint or "Unsupported" in complaint)


def describe_objects(path: Path) -> str:
    """Half a sentence on a pickle that `holds_objects`, and the way to its weights."""
    with path.open("rb") as file:
        head = file.read(LOOK_BYTES)
    for name in FAMILIES:
        for mark, sentence in family(name).unsafe_files.items():
            if mark in head:
                return sentence
    return (
        "holds Python objects, and reading them would run code, which is unsafe: save only its state_dicts with "
        "torch.save"
    )


def describe_content(content: object) -> str:
    """Half a sentence on content that torch can read but no family recognises."""
    if not isinstance(content, Mapping):
        return f"holds a {type(content).__name__}"
    if not content:
        return "holds an empty table"
    for name in FAMILIES:
        near_miss = family(name).describe_foreign(content)
        if near_miss is not None:
            return near_miss
    names = {str(name) for name in content}
    if {"state", "param_groups"} <= names:
        return "holds the state of an optimiser"
    if not all(isinstance(value, Tensor) for value in content.values()):
        return f"holds a table of {', '.join(sorted(names)[:5])}"
    return f"is a state_dict of {len(names)} tensors, {', '.join(sorted(names)[:2])} …"
