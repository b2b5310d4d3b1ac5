"""A data set's zip archive: checked before anything is unpacked, then unpacked into a folder of domains.

Names that lead elsewhere, links, and sizes that no archive of images has are refused.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from starcast.errors import DownloadError, printable
from starcast.train.data.folders import is_image
from starcast.train.terminal import standard_error

MOST_GROWTH, ALWAYS_FINE = 20, 2**28  # images hardly shrink: an archive that grows so much was made to fill the disk
MOST_ENTRIES = 1_000_000
TRAIN, OTHERS = "train", ("val", "test")
_WINDOWS_NAMES = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}
_OTHER = "give the right address with --url"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Contents:
    """The entries below the folder that has train/, with their paths within it."""

    entries: tuple[tuple[zipfile.ZipInfo, PurePosixPath], ...]
    bytes: int


def check_archive(path: Path, domains: Sequence[str]) -> Contents:
    """What is to be unpacked. Raises DownloadError unless it is a safe archive of a set with these domains."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except _BROKEN as error:
        raise DownloadError(
            f"{printable(path.name)} is not a zip archive, or is damaged ({error}): {_OTHER}"
        ) from error
    if len(entries) > MOST_ENTRIES:
        raise DownloadError(f"{printable(path.name)} has {len(entries):,} entries, more than any set: {_OTHER}")
    size = sum(entry.file_size for entry in entries)
    if size > max(ALWAYS_FINE, MOST_GROWTH * path.stat().st_size):
        raise DownloadError(
            f"{printable(path.name)} would unpack {path.stat().st_size / 1e6:.1f} MB into {size / 1e9:.1f} GB, which "
            f"images never do: {_OTHER}"
        )
    for entry in entries:
        _refuse_entry(path, entry)
    files = [(entry, PurePosixPath(entry.filename)) for entry in entries if not entry.is_dir()]
    root = _root_of(path, [place for _, place in files], domains)
    kept = tuple(
        (entry, place.relative_to(root)) for entry, place in files
        if place.is_relative_to(root) and not any(part.startswith((".", "__MACOSX")) for part in place.parts)
    )  # fmt: skip
    _refuse_clashes(path, [place for _, place in kept])
    return Contents(kept, sum(entry.file_size for entry, _ in kept))


def unpack(path: Path, contents: Contents, folder: Path) -> None:
    """Write the files into a new folder. Raises DownloadError if one is damaged, and OSError."""
    with (
        zipfile.ZipFile(path) as archive,
        tqdm(
            total=contents.bytes, unit="B", unit_scale=True, desc="Unpacking", leave=False, file=standard_error()
        ) as bar,
    ):  # fmt: skip
        for entry, place in contents.entries:
            target = folder.joinpath(*place.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(entry) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, 2**20)
            except _BROKEN as error:
                raise DownloadError(
                    f"{printable(path.name)} is damaged at {printable(entry.filename)} ({error}): fetch it again"
                ) from error
            bar.update(entry.file_size)


def is_unpacked(contents: Contents, folder: Path) -> bool:
    """Whether a folder holds these files, byte for byte, and no other. Raises OSError."""
    wanted = {folder.joinpath(*place.parts): entry for entry, place in contents.entries}
    there = [file for file in folder.rglob("*") if file.is_symlink() or not file.is_dir()]
    return set(there) == set(wanted) and all(_is_entry(file, wanted[file]) for file in there)


def _is_entry(file: Path, entry: zipfile.ZipInfo) -> bool:
    if file.is_symlink() or file.stat().st_size != entry.file_size:
        return False
    checksum = 0
    with file.open("rb") as content:
        while part := content.read(2**20):
            checksum = zlib.crc32(part, checksum)
    return checksum == entry.CRC


def _refuse_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    """Raise DownloadError for an entry that would be written elsewhere, is a link, or cannot be read."""
    name, mode = entry.filename, entry.external_attr >> 16
    parts = PurePosixPath(name).parts
    why = None
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        why = "which leads out of the folder"
    elif any(part.partition(".")[0].lower() in _WINDOWS_NAMES or part != part.rstrip(" .") for part in parts):
        why = "which Windows cannot write"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        why = "which is a link or a device"
    elif entry.flag_bits & 1:
        why = "which is encrypted"
    if why is not None:
        raise DownloadError(
            f"{printable(path.name)} holds {printable(name)!r}, {why}, so nothing is unpacked: {_OTHER}"
        )


def _refuse_clashes(path: Path, places: Sequence[PurePosixPath]) -> None:
    """Raise DownloadError if two files would be written to one place, or a file where a folder must be."""
    seen: set[str] = set()  # without case, as Windows and macOS see them
    folders = {str(parent).lower() for place in places for parent in place.parents}
    for place in places:
        name = str(place).lower()
        if name in seen or name in folders:
            raise DownloadError(
                f"{printable(path.name)} holds {printable(str(place))!r} twice, so nothing is unpacked: {_OTHER}"
            )
        seen.add(name)


def _root_of(path: Path, places: Sequence[PurePosixPath], domains: Sequence[str]) -> PurePosixPath:
    """The folder in the archive that holds train/ and val/ or test/, each with the domains."""
    images = [place for place in places if is_image(Path(place.name))]
    folders = {place.parent for place in images}
    roots = {folder.parent.parent for folder in folders if folder.parent.name == TRAIN}
    for root in sorted(roots):
        if all(root / TRAIN / domain in folders for domain in domains) and any(
            all(root / other / domain in folders for domain in domains) for other in OTHERS
        ):
            return root
    there = sorted({str(folder) for folder in folders})[:4]
    found = f"it has images in {', '.join(map(printable, there))}" if there else "it has no images"
    raise DownloadError(
        f"{printable(path.name)} lacks the folders train/ and val/ or test/ with {', '.join(domains)} ({found}), so it "
        f"is another archive: {_OTHER}"
    )
