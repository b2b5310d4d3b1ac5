"""Folders of images as domains, for training and for `starcast dataset check`. Opens no image.

Three layouts; the first two may be mixed in one folder:

    DIR/<domain>/*.jpg                          all images train
    DIR/<domain>/{train,val,test}/*.jpg         val and test are held out (also: images beside a test/ folder)
    DIR/{train,val,test}/<domain>/*.jpg         as in the official data sets

Entries are sorted by name, so that the file system's order changes nothing. Hidden entries and other files are ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from starcast.atomic import repair_folder
from starcast.errors import DatasetError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
TRAINING = "train"
HELD_OUT = ("val", "test")
SPLITS = (TRAINING, *HELD_OUT)


@dataclass(frozen=True)
class Domain:
    """One folder's images; `unused` are entries that fit no layout."""

    name: str
    training: tuple[Path, ...]
    held_out: tuple[Path, ...]
    unused: tuple[Path, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A scanned folder. The index of a domain in `domains` is its number in the networks."""

    path: Path
    domains: tuple[Domain, ...]
    unused: tuple[Path, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The domains' names in order."""
        return tuple(domain.name for domain in self.domains)

    def summary(self) -> dict[str, object]:
        """What checkpoints and run.json record; `listing` changes when a file is added or removed."""
        listing = hashlib.sha256()
        for domain in self.domains:
            for image in domain.training:
                listing.update(f"{domain.name}\0{image.relative_to(self.path).as_posix()}\n".encode())
        return {
            "name": self.path.resolve().name,
            "path": str(self.path.resolve()),
            "domains": list(self.names),
            "training": [len(domain.training) for domain in self.domains],
            "held_out": [len(domain.held_out) for domain in self.domains],
            "listing": listing.hexdigest(),
        }


def scan(path: Path, names: Iterable[str] = ()) -> DataSet:
    """The domains in a folder, including empty ones: those in `names` in that order, by default all alphabetically.

    Raises DatasetError if there is no domain, or none with one of these names.
    """
    path = Path(path)
    repair_folder(path)
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder: give a folder with a subfolder of images for each domain")
    folders, unused = _split_layout(path) if _is_split_layout(path) else _domain_layout(path)
    if not folders:
        raise DatasetError(f"{path} has no subfolder: put each domain's images into a subfolder of its own")
    names = tuple(names) or tuple(sorted(folders))
    for name in names:
        if name not in folders:
            raise DatasetError(f"{path} has no domain {name!r}: there are {', '.join(sorted(folders))}")
    return DataSet(path, tuple(folders[name] for name in names), unused)


def scan_for_training(path: Path, names: Iterable[str] = ()) -> DataSet:
    """The same domains as `scan`; also raises DatasetError if a domain has no training image."""
    data_set = scan(path, names)
    for domain in data_set.domains:
        if not domain.training:
            raise DatasetError(no_images(data_set, domain))
    return data_set


def no_images(data_set: DataSet, domain: Domain) -> str:
    """The error for a domain without training images."""
    others = ",".join(other.name for other in data_set.domains if other.training)
    way_out = f", or leave it out with --domains {others}" if others else ""
    kinds = ", ".join(sorted(SUFFIXES))
    return f"{data_set.path}: the domain {domain.name!r} has no training image: add some ({kinds}){way_out}"


def _is_split_layout(path: Path) -> bool:
    """True for DIR/train/<domain>/. If `train` is a domain, it holds images or split folders instead."""
    folder = _find_subfolder(path, TRAINING)
    if folder is None or any(_images(folder)):
        return False
    return any(entry.is_dir() and entry.name.lower() not in SPLITS for entry in _visible(folder))


def _domain_layout(path: Path) -> tuple[dict[str, Domain], tuple[Path, ...]]:
    entries = list(_visible(path))
    folders = {folder.name: _domain(folder) for folder in entries if folder.is_dir()}
    return folders, tuple(entry for entry in entries if not entry.is_dir())


def _domain(folder: Path) -> Domain:
    """A domain from DIR/<domain>/, with or without split folders in it."""
    splits = {split: _find_subfolder(folder, split) for split in SPLITS}
    read = [folder, *(split for split in splits.values() if split is not None)]
    inside = [tuple(_images(split)) if split is not None else () for split in splits.values()]
    unused = [entry for place in read for entry in _visible(place) if not is_image(entry) and entry not in read]
    training, *held_out = inside
    return Domain(folder.name, (*_images(folder), *training), sum(held_out, ()), tuple(unused))


def _split_layout(path: Path) -> tuple[dict[str, Domain], tuple[Path, ...]]:
    splits = {split: _find_subfolder(path, split) for split in SPLITS}
    places = {
        split: {folder.name: folder for folder in _visible(place) if folder.is_dir()} if place is not None else {}
        for split, place in splits.items()
    }
    folders = {}
    for name in sorted({name for place in places.values() for name in place}):
        inside = {split: places[split].get(name) for split in SPLITS}
        images = {split: tuple(_images(folder)) if folder is not None else () for split, folder in inside.items()}
        there = [folder for folder in inside.values() if folder is not None]
        unused = [entry for folder in there for entry in _visible(folder) if not is_image(entry)]
        held_out = sum((images[split] for split in HELD_OUT), ())
        folders[name] = Domain(name, images[TRAINING], held_out, tuple(unused))
    stray = [entry for entry in _visible(path) if entry not in splits.values()]
    loose = [entry for place in splits.values() if place is not None for entry in _visible(place) if not entry.is_dir()]
    return folders, (*stray, *loose)


def is_image(path: Path) -> bool:
    """True if the name ends like an image's. The file is not opened."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _images(folder: Path) -> Iterator[Path]:
    return (entry for entry in _visible(folder) if is_image(entry))


def _find_subfolder(folder: Path, name: str) -> Path | None:
    """The subfolder of that name, ignoring case, or None."""
    return next((entry for entry in _visible(folder) if entry.name.lower() == name and entry.is_dir()), None)


def _visible(folder: Path) -> list[Path]:
    """Entries sorted by name, without hidden ones."""
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)
