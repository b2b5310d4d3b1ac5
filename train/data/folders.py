"""Folders of images as domains, for training and for `starcast dataset check`. Opens no image.

Four layouts; the first two may be mixed in one folder:

    DIR/<domain>/*.jpg                          all images train
    DIR/<domain>/{train,val,test}/*.jpg         val and test are held out (also: images beside a test/ folder)
    DIR/{train,val,test}/<domain>/*.jpg         as in the official data sets
    DIR/{trainA,trainB,testA,testB}/*.jpg       as CycleGAN's data sets lie: the domains A and B

`valid` and `validation` are read as `val`. Entries are sorted by name, so that the file system's order changes nothing.
Hidden entries are ignored; what else is not used is listed, and `left_out` says why.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from starcast.atomic import repair_folder
from starcast.comma_lists import join_commas, rejoin
from starcast.errors import DatasetError, printable
from starcast.images.formats import READ_IN_WORDS, has_read_suffix
from starcast.train.options import DataOptions, TrainOptions

if TYPE_CHECKING:
    from starcast.train.data.attributes import Listed

TRAINING = "train"
HELD_OUT = ("val", "valid", "validation", "test")
SPLITS = (TRAINING, *HELD_OUT)

# folders and files that file servers, archives and desktops put beside the user's: never a domain
_MADE_BY_SYSTEMS = frozenset({
    "@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "recycler", "lost+found",
    "system volume information", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
})  # fmt: skip
_CYCLEGAN = re.compile(rf"({'|'.join(SPLITS)})[_-]?([A-Z])")


@dataclass(frozen=True)
class Domain:
    """One folder's images; `unused` are entries that fit no layout."""

    name: str
    training: tuple[Path, ...]
    held_out: tuple[Path, ...]
    unused: tuple[Path, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """What a run trains on: a scanned folder of domains, images whose attributes a list gives, or both.

    `names` are the labels in the order that the networks number them: attributes first, then domains. Without domains
    (`has_domains` False) there is one that stands for all images.
    """

    path: Path
    domains: tuple[Domain, ...]
    unused: tuple[Path, ...] = ()
    listed: Listed | None = None
    has_domains: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes' and the domains' names in order."""
        attributes = self.listed.names if self.listed is not None else ()
        return (*attributes, *(domain.name for domain in self.domains))

    @property
    def training_images(self) -> int:
        """How many images train: what an epoch goes through. Of two sets, those of the larger one."""
        listed = len(self.listed.training) if self.listed is not None else 0
        return max(listed, sum(len(domain.training) for domain in self.domains))

    @cached_property
    def listing(self) -> str:
        """A hash of the training images' names, which changes when a file is added or removed."""
        listing = hashlib.sha256()
        for domain in self.domains:
            for image in domain.training:
                line = f"{domain.name}\0{image.relative_to(self.path).as_posix()}\n"
                listing.update(line.encode(errors="surrogatepass"))  # names need not be UTF-8
        if self.listed is not None:
            for line in self.listed.lines():
                listing.update(line.encode(errors="surrogatepass"))
        return listing.hexdigest()

    def summary(self) -> dict[str, object]:
        """What checkpoints and run.json record."""
        facts: dict[str, object] = {
            "name": self.path.resolve().name,
            "path": str(self.path.resolve()),
            "domains": list(self.names),
            "training": [len(domain.training) for domain in self.domains],
            "held_out": [len(domain.held_out) for domain in self.domains],
        }
        if self.listed is not None:
            facts["list"] = str(self.listed.file.resolve())
            facts["listed"] = len(self.listed.training)
        return {**facts, "listing": self.listing}


def scan(path: Path, names: Iterable[str] = ()) -> DataSet:
    """The domains in a folder, including empty ones: those in `names` in that order, by default all alphabetically.

    Raises DatasetError if there is no domain, or none with one of these names.
    """
    path, names = Path(path), tuple(names)
    repair_folder(path)
    if not path.is_dir():
        raise DatasetError(
            f"{printable(path)} is not a folder: give a folder with a subfolder of images for each domain"
        )
    if _is_split_layout(path):
        folders, unused = _split_layout(path)
    elif (lettered := _cyclegan_layout(path)) is not None:
        folders, unused = lettered
    else:
        folders, unused = _domain_layout(path)
        if not names:
            _refuse_splits_as_domains(path, folders)
    if not folders:
        raise DatasetError(f"{printable(path)} has no subfolder: put each domain's images into a subfolder of its own")
    names = rejoin(names, folders.__contains__) or tuple(sorted(folders))
    for name in names:
        if name not in folders:
            raise DatasetError(f"{printable(path)} has no domain {name!r}: there are {in_words(sorted(folders))}")
    return DataSet(path, tuple(folders[name] for name in names), unused)


def in_words(names: Iterable[str]) -> str:
    """Domains' names for a message."""
    return ", ".join(printable(name) for name in names)


def scan_for_training(path: Path, names: Iterable[str] = ()) -> DataSet:
    """The same domains as `scan`; also raises DatasetError if a domain has no training image."""
    data_set = scan(path, names)
    for domain in data_set.domains:
        if not domain.training:
            raise DatasetError(no_images(data_set, domain))
    return data_set


def scan_domains(path: Path, options: TrainOptions) -> DataSet:
    """The domains that a run's options ask for, each with training images. Raises DatasetError."""
    return scan_for_training(path, options.data.domains if isinstance(options.data, DataOptions) else ())


def no_images(data_set: DataSet, domain: Domain) -> str:
    """The error for a domain without training images."""
    others = join_commas(printable(other.name) for other in data_set.domains if other.training)
    way_out = f", or leave it out with --domains {others}" if others else ""
    nested = [image for folder in domain.unused if folder.is_dir() for image in images_below(folder)]
    add = f"move up the {len(nested)} in its subfolders" if nested else f"add some ({READ_IN_WORDS})"
    if nested and not others:
        way_out = f", or give {printable(domain.name)} itself as the folder"
    return f"{printable(data_set.path)}: the domain {domain.name!r} has no training image: {add}{way_out}"


def _refuse_splits_as_domains(path: Path, folders: Iterable[str]) -> None:
    """Raise DatasetError if all domains have the names of splits: train/ and test/ that hold the images themselves."""
    if len(names := sorted(folders)) > 1 and all(name.lower() in SPLITS for name in names):
        raise DatasetError(
            f"{printable(path)} has no domains, only {in_words(names)}: put a subfolder for each domain into each of "
            f"them, or, if these are domains, say so with --domains {','.join(names)}"
        )


def _is_split_layout(path: Path) -> bool:
    """True for DIR/train/<domain>/. If `train` is a domain, it holds images or split folders instead."""
    folder = _find_subfolder(path, TRAINING)
    if folder is None or any(_images(folder)):
        return False
    return any(_may_be_domain(entry) and entry.name.lower() not in SPLITS for entry in _visible(folder))


def _cyclegan_layout(path: Path) -> tuple[dict[str, Domain], tuple[Path, ...]] | None:
    """Domains from DIR/trainA, trainB, testA, …; None unless all folders are of this kind and several letters train."""
    entries = _visible(path)
    matches = {folder: _CYCLEGAN.fullmatch(folder.name) for folder in entries if _may_be_domain(folder)}
    letters = {match[2] for match in matches.values() if match and match[1] == TRAINING}
    if len(letters) < 2 or not all(match and match[2] in letters for match in matches.values()):
        return None
    images: dict[str, dict[bool, list[Path]]] = {letter: {True: [], False: []} for letter in sorted(letters)}
    unused: dict[str, list[Path]] = {letter: [] for letter in letters}
    for folder, match in matches.items():
        if match:
            images[match[2]][match[1] == TRAINING] += _images(folder)
            unused[match[2]] += (entry for entry in _visible(folder) if not is_image(entry))
    domains = {
        letter: Domain(letter, tuple(found[True]), tuple(found[False]), tuple(unused[letter]))
        for letter, found in images.items()
    }
    return domains, tuple(entry for entry in entries if entry not in matches)


def _domain_layout(path: Path) -> tuple[dict[str, Domain], tuple[Path, ...]]:
    entries = _visible(path)
    folders = {folder.name: _domain(folder) for folder in entries if _may_be_domain(folder)}
    return folders, tuple(entry for entry in entries if entry.name not in folders)


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
        split: {folder.name: folder for folder in _visible(place) if _may_be_domain(folder)} if place else {}
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
    loose = [entry for place in splits.values() if place for entry in _visible(place) if not _may_be_domain(entry)]
    return folders, (*stray, *loose)


def is_image(path: Path) -> bool:
    """True if the name ends like an image's. The file is not opened."""
    return has_read_suffix(path.suffix) and not path.is_dir()


def is_held_out(image: Path) -> bool:
    """Whether a folder on the way to the image is called val or test, as in the layouts of domains."""
    return any(folder.lower() in HELD_OUT for folder in image.parts[:-1])


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and its subfolders, hidden ones aside."""
    found = []
    for place, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".") and not is_made_by_system(Path(place, name))]
        found += [path for name in files if not name.startswith(".") and is_image(path := Path(place, name))]
    return found


def is_made_by_system(path: Path) -> bool:
    """True for files and folders that file servers, archives and desktops create."""
    return path.name.lower() in _MADE_BY_SYSTEMS


def _may_be_domain(path: Path) -> bool:
    return path.is_dir() and not is_made_by_system(path)


def _images(folder: Path) -> Iterator[Path]:
    return (entry for entry in _visible(folder) if is_image(entry))


def _find_subfolder(folder: Path, name: str) -> Path | None:
    """The subfolder of that name, ignoring case, or None."""
    return next((entry for entry in _visible(folder) if entry.name.lower() == name and entry.is_dir()), None)


def _visible(folder: Path) -> list[Path]:
    """Entries sorted by name, without hidden ones."""
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)
