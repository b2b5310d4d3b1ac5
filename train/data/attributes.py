"""Images whose attributes a list gives: CelebA's list_attr_celeba.txt, or the same as CSV.

    202599                                          (a line that counts the rows, or none)
    5_o_Clock_Shadow Arched_Eyebrows …              image_id,5_o_Clock_Shadow,Arched_Eyebrows,…
    000001.jpg -1 1 …                               000001.jpg,-1,1,…

An attribute is 1, true or yes, or -1, 0, false or no. Images may lie in subfolders; their list need not say in which.
Opens no image.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.errors import DatasetError, printable, reason_of
from starcast.train.data.folders import images_below

CELEBA_LISTS = ("list_attr_celeba.txt", "list_attr_celeba.csv")  # as torchvision and others leave them
SPLIT_SEED, MOST_HELD_OUT = 1234, 1999  # the original's: the first rows after a shuffle are held out
HELD_OUT_SHARE = 10  # of a list, at most one in ten

_VALUES = {"1": True, "true": True, "yes": True, "-1": False, "0": False, "false": False, "no": False}


@dataclass(frozen=True, eq=False)
class Listed:
    """Images with the attributes that a list gives, in the order of the list.

    Labels are uint8 (images, names), 1 where an image has the attribute. `notes` is a sentence for each kind of row or
    file that is left out.
    """

    file: Path
    folder: Path
    names: tuple[str, ...]
    training: tuple[Path, ...]
    labels: NDArray[np.uint8]
    held_out: tuple[Path, ...]
    held_out_labels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """A line for each training image that changes when its attributes do."""
        for path, row in zip(self.training, self.labels, strict=True):
            yield f"{path.relative_to(self.folder).as_posix()}\0{''.join(map(str, row))}\n"

    def describe(self) -> list[str]:
        """What is trained on, and what is left out."""
        shares = ", ".join(
            f"{printable(name)} ({count:,})" for name, count in zip(self.names, self.labels.sum(0), strict=True)
        )
        held_out = f", {len(self.held_out):,} more held out" if self.held_out else ""
        count = "1 attribute" if len(self.names) == 1 else f"{len(self.names)} attributes"
        return [f"{count} of {len(self.training):,} images{held_out}: {shares}", *self.notes]


@dataclass(frozen=True, eq=False)
class AttributeTable:
    """A list's rows: files as it names them, and booleans (files, names)."""

    files: tuple[str, ...]
    names: tuple[str, ...]
    values: NDArray[np.bool_]
    notes: tuple[str, ...] = ()


def find_list(folder: Path) -> Path:
    """CelebA's list in a folder of images or beside it. Raises DatasetError if there is none."""
    for place in (folder, folder.resolve().parent):
        for name in CELEBA_LISTS:
            if (place / name).is_file():
                return place / name
    raise DatasetError(
        f"{printable(folder)} has no list of attributes ({' or '.join(CELEBA_LISTS)}) in it or beside it: give "
        "one with --list"
    )


def read_listed(file: Path, folder: Path, names: Sequence[str]) -> Listed:
    """The images of a list that lie in a folder or its subfolders. Raises DatasetError."""
    table = read_table(file, names)
    paths, notes = _find_images(table, file, folder)
    order = list(range(len(table.files)))
    random.Random(SPLIT_SEED).shuffle(order)
    held_out = set(order[: min(MOST_HELD_OUT, len(order) // HELD_OUT_SHARE)])
    there = [row for row in range(len(table.files)) if paths[row] is not None]
    parts = [row for row in there if row not in held_out], [row for row in there if row in held_out]
    training, later = (tuple(path for row in part if (path := paths[row]) is not None) for part in parts)
    labels, later_labels = (table.values[part].astype(np.uint8).reshape(len(part), len(names)) for part in parts)
    if not training:
        raise DatasetError(f"{printable(folder)} has no image of {printable(file.name)} to train on: add some")
    for name, count in zip(names, labels.sum(0), strict=True):
        if count in (0, len(training)):
            which = "no image has" if not count else "every image has"
            notes.append(f"{printable(file.name)}: {which} the attribute {printable(name)}, so it cannot be learnt")
    return Listed(file, folder, tuple(names), training, labels, later, later_labels, (*table.notes, *notes))


def read_table(file: Path, names: Sequence[str]) -> AttributeTable:
    """The attributes of these names in a list, in any of its forms. Raises DatasetError, which names the line."""
    header, rows, claimed = _split(file)
    columns = [_column(name, header, file) for name in names]
    files: dict[str, int] = {}
    values: list[list[bool]] = []
    repeated = 0
    for line, name, row in rows:
        if len(row) != len(header):
            raise DatasetError(
                f"{printable(file)} has {len(row)} attributes in line {line} instead of {len(header)}: fix the line"
            )
        given = [_as_bool(row[column], header[column], file, line) for column in columns]
        if name in files:
            repeated += 1
            if values[files[name]] != given:
                raise DatasetError(
                    f"{printable(file)} names {printable(name)} again in line {line}, with other attributes: "
                    "remove one of the rows"
                )
            continue
        files[name] = len(values)
        values.append(given)
    if not files:
        raise DatasetError(f"{printable(file)} has no rows: give a list with a row for each image")
    notes = [f"{printable(file.name)}: {repeated} rows repeat earlier ones"] if repeated else []
    if claimed is not None and claimed != len(values) + repeated:
        notes.append(
            f"{printable(file.name)} says that it has {claimed:,} rows, but has {len(values) + repeated:,}: it may be "
            "truncated"
        )
    return AttributeTable(tuple(files), tuple(names), np.array(values, np.bool_), tuple(notes))


Rows = list[tuple[int, str, list[str]]]  # number of the line, the image, its values


def _split(file: Path) -> tuple[list[str], Rows, int | None]:
    """The attributes' names, the rows, and how many rows the file says it has."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DatasetError(
            f"{printable(file)} cannot be read ({reason_of(error)}): give a list of attributes with --list"
        ) from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if "\0" in text or len(lines) < 2:
        raise DatasetError(f"{printable(file)} is no list of attributes: give list_attr_celeba.txt, or CSV")
    claimed = int(lines[0][1]) if lines[0][1].strip().isdecimal() else None
    if claimed is not None:
        lines = lines[1:]
    separator = next((mark for mark in (",", ";", "\t") if mark in lines[0][1]), None)
    if len(lines) < 2:
        return lines[0][1].split(separator), [], claimed
    header, first = (_fields(line, separator) for _, line in lines[:2])
    if len(header) == len(first):  # the column of the images has a name, too
        header = header[1:]
    rows = []
    for number, line in lines[1:]:
        if separator is None:
            name, *values = line.strip().rsplit(maxsplit=len(header))  # names may have spaces
        else:
            name, *values = _fields(line, separator)
        rows.append((number, name, values))
    return header, rows, claimed


def _fields(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    return [field.strip() for field in next(csv.reader([line], delimiter=separator))]


def _column(name: str, header: Sequence[str], file: Path) -> int:
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise DatasetError(f"{printable(file)} has the attribute {printable(name)} twice: rename one of the columns")
    raise DatasetError(
        f"{printable(file)} has no attribute {name!r}: there are {', '.join(printable(known) for known in header)}"
    )


def _as_bool(value: str, name: str, file: Path, line: int) -> bool:
    known = _VALUES.get(value.strip().lower().removesuffix(".0"))
    if known is None:
        raise DatasetError(
            f"{printable(file)} has {value!r} for {printable(name)} in line {line}: write 1 or -1, or 1 or 0"
        )
    return known


def _find_images(table: AttributeTable, file: Path, folder: Path) -> tuple[list[Path | None], list[str]]:
    """The path of each row's image, None if it is missing, and a sentence for each kind that is left out.

    An image is found by its path below the folder, by its name alone, or with another suffix (.png for .jpg).
    """
    if not folder.is_dir():
        raise DatasetError(f"{printable(folder)} is not a folder: give the folder with the images of {printable(file)}")
    there = sorted(images_below(folder))
    by_path = {path.relative_to(folder).as_posix(): path for path in there}
    by_name = _unique((path.name, path) for path in there)
    by_stem = _unique((path.stem, path) for path in there)
    paths: list[Path | None] = []
    for name in table.files:
        plain = name.replace("\\", "/").removeprefix("./")
        path = by_path.get(plain) or by_name.get(plain.rpartition("/")[2], _ABSENT)
        if path is _ABSENT:
            path = by_stem.get(Path(plain).stem, _ABSENT)
        if path is None:
            raise DatasetError(
                f"{printable(folder)} has several images of the name {printable(name)}, and {printable(file)} does not "
                "say which: write their folders into the list"
            )
        paths.append(None if path is _ABSENT else path)
    missing = [name for name, path in zip(table.files, paths, strict=True) if path is None]
    if len(missing) == len(paths):
        raise DatasetError(
            f"{printable(folder)} has none of the {len(paths):,} images of {printable(file)}, such as "
            f"{printable(missing[0])}: give the folder that they are in"
        )
    notes = []
    if missing:
        notes.append(
            f"{printable(file.name)}: {len(missing):,} of its {len(paths):,} images are not there, such as "
            f"{printable(missing[0])}"
        )
    unlisted = sorted(set(there).difference(paths))
    if unlisted:
        notes.append(
            f"{printable(folder.name or str(folder))}: {len(unlisted):,} images are not used, such as "
            f"{printable(unlisted[0].name)}, because {printable(file.name)} does not name them"
        )
    return paths, notes


_ABSENT = Path("\0")


def _unique(pairs: Iterable[tuple[str, Path]]) -> dict[str, Path | None]:
    """The path of each key; None for a key of several paths."""
    paths: dict[str, Path | None] = {}
    for key, path in pairs:
        paths[key] = None if key in paths else path
    return paths
