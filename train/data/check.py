"""What a folder of training images holds, and what is wrong with it. Reads every file once, before a long run."""

from __future__ import annotations

import hashlib
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from starcast.errors import ImageError, OptionError, printable
from starcast.images.read import read_stored
from starcast.train import families
from starcast.train.data.folders import DataSet, Domain, no_images, scan
from starcast.train.data.left_out import list_left_out
from starcast.train.options import DataOptions

MOST_SENTENCES = 20  # of one kind; the others are only counted

# Pillow's mode -> its usual name; all are read, as 8-bit RGB
_ODD_MODES = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "I": "16- or 32-bit grey",
    "I;16": "16-bit grey", "I;16B": "16-bit grey", "I;16L": "16-bit grey", "F": "floating-point grey",
    "P": "of a palette", "PA": "of a palette with transparency", "RGBA": "with transparency",
    "CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "Lab", "HSV": "HSV", "RGBX": "RGB with a spare channel",
}  # fmt: skip


@dataclass(frozen=True)
class CheckedFile:
    """One file. If it cannot be read, `error` says why and the other fields are empty."""

    path: Path
    width: int = 0
    height: int = 0
    mode: str = ""
    file_hash: str = ""
    pixel_hash: str = ""
    error: str | None = None
    notes: tuple[str, ...] = ()  # clauses that say how it was read


@dataclass(frozen=True)
class DomainReport:
    """One row of the table. Sizes are (width, height) of the readable files: smallest, median, largest by area."""

    name: str
    training: int
    held_out: int
    unreadable: int
    too_small: int
    duplicates: int
    smallest: tuple[int, int] | None
    median: tuple[int, int] | None
    largest: tuple[int, int] | None


@dataclass(frozen=True)
class DataSetReport:
    """The table, a sentence for each problem, and a sentence for each reason why training would fail."""

    rows: tuple[DomainReport, ...]
    problems: tuple[str, ...]
    failures: tuple[str, ...]

    def table(self) -> str:
        """The rows as text."""
        from tabulate import tabulate

        counts = ("training", "held out", "unreadable", "too small", "duplicates")
        headers = ("domain", *counts, "smallest", "median", "largest")
        rows = [
            (
                row.name, row.training, row.held_out, row.unreadable, row.too_small, row.duplicates,
                _size(row.smallest), _size(row.median), _size(row.largest),
            )
            for row in self.rows
        ]  # fmt: skip
        return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=("left", *["right"] * 8))


def scan_for_check(folder: Path, family: str, domains: tuple[str, ...]) -> DataSet:
    """The folder as a family reads it: by domains, including empty ones, or whole.

    Raises DatasetError as the family does, and OptionError for domains where it has none.
    """
    options = families.options_class(family)()
    if isinstance(options.data, DataOptions):
        return scan(folder, domains)
    if domains:
        raise OptionError(f"the family {family} has no domains: leave --domains out")
    return families.family(family).scan(folder, options)


def check_data_set(data_set: DataSet, image_size: int, on_file: Callable[[], object] = lambda: None) -> DataSetReport:
    """Read every image of a scanned folder; `on_file` is called after each one."""
    rows, problems, failures = [], list_left_out(data_set), []
    everything: list[CheckedFile] = []
    with ThreadPoolExecutor() as pool:
        for domain in data_set.domains:
            files = []
            for file in pool.map(check_file, (*domain.training, *domain.held_out)):
                files.append(file)
                on_file()
            training = files[: len(domain.training)]
            rows.append(_row(domain, files, image_size))
            problems += _domain_problems(domain.name, training, files, image_size)
            if not domain.training:
                failures.append(no_images(data_set, domain))
            elif all(file.error for file in training):
                failures.append(
                    f"{data_set.path}: none of the {len(training)} training images of {domain.name!r} can be read"
                )
            everything += files
    problems += _duplicates(data_set.path, everything)
    return DataSetReport(tuple(rows), tuple(problems), tuple(failures))


def check_file(path: Path) -> CheckedFile:
    """Decode one file as training does."""
    try:
        image = read_stored(path)
        with path.open("rb") as file:
            file_hash = hashlib.file_digest(file, "sha256").hexdigest()
    except ImageError as error:
        return CheckedFile(path, error=str(error))
    height, width = image.pixels.shape[:2]
    pixel_hash = hashlib.sha256(f"{width}x{height}".encode() + image.pixels.tobytes()).hexdigest()
    return CheckedFile(path, width, height, image.mode, file_hash, pixel_hash, notes=image.notes)


def _row(domain: Domain, files: list[CheckedFile], image_size: int) -> DomainReport:
    readable = [file for file in files if not file.error]
    by_area = sorted(((file.width, file.height) for file in readable), key=lambda size: size[0] * size[1])
    return DomainReport(
        name=domain.name,
        training=len(domain.training),
        held_out=len(domain.held_out),
        unreadable=len(files) - len(readable),
        too_small=sum(_too_small(file, image_size) for file in readable),
        duplicates=len(readable) - len({file.pixel_hash for file in readable}),
        smallest=by_area[0] if by_area else None,
        median=statistics.median_low(by_area) if by_area else None,
        largest=by_area[-1] if by_area else None,
    )


def _domain_problems(name: str, training: list[CheckedFile], files: list[CheckedFile], image_size: int) -> list[str]:
    problems = _shortened([file.error for file in files if file.error], "unreadable files")
    problems += _shortened([f"{printable(file.path)} {note}" for file in files for note in file.notes], "such files")
    readable = [file for file in files if not file.error]
    small = [file for file in readable if _too_small(file, image_size)]
    if small:
        worst = min(small, key=lambda file: min(file.width, file.height))
        problems.append(
            f"{name}: {_count(small)} smaller than {image_size} x {image_size} and will be enlarged, {worst.path.name} "
            f"from {worst.width} x {worst.height}"
        )
    by_mode = defaultdict(list)
    for file in readable:
        if file.mode != "RGB":
            by_mode[_ODD_MODES.get(file.mode, file.mode)].append(file)
    for kind, odd in sorted(by_mode.items()):
        problems.append(f"{name}: {_count(odd)} {kind}, such as {odd[0].path.name}, and will be read as RGB on white")
    whole = [file for file in training if not file.error]
    if len(whole) == 1:
        problems.append(f"{name} has only one training image, so both references of a pair are always the same")
    return problems


def _duplicates(root: Path, files: list[CheckedFile]) -> list[str]:
    groups: dict[str, list[CheckedFile]] = defaultdict(list)
    for file in files:
        if not file.error:
            groups[file.pixel_hash].append(file)
    sentences = []
    for group in groups.values():
        if len(group) > 1:
            what = "are the same file" if len({file.file_hash for file in group}) == 1 else "hold the same pixels"
            names = [file.path.relative_to(root).as_posix() for file in group]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            sentences.append(f"{', '.join(names[:3])}{more} {what}")
    return _shortened(sentences, "groups of duplicates")


def _shortened(sentences: Iterable[str], what: str) -> list[str]:
    sentences = list(sentences)
    if len(sentences) <= MOST_SENTENCES:
        return sentences
    return [*sentences[:MOST_SENTENCES], f"… and {len(sentences) - MOST_SENTENCES} more {what}"]


def _too_small(file: CheckedFile, image_size: int) -> bool:
    return min(file.width, file.height) < image_size


def _count(files: list[CheckedFile]) -> str:
    return "1 image is" if len(files) == 1 else f"{len(files)} images are"


def _size(size: tuple[int, int] | None) -> str:
    return "-" if size is None else f"{size[0]} x {size[1]}"
