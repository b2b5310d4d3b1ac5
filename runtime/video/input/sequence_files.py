"""Find the images of a sequence: a pattern such as `shot_%05d.png`, or a folder of numbered images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from starcast.absence import absence_of
from starcast.errors import ImageError, OptionError, printable, reason_of
from starcast.images import formats
from starcast.runtime.video.input.film_kinds import SUFFIXES, is_animated

_PATTERN = re.compile(r"%(?:0([1-9][0-9]?))?d", re.ASCII)  # printf's, as FFmpeg has it
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_NAMED = 5  # gaps, and other files in a folder


@dataclass(frozen=True)
class SequenceFiles:
    """The images' names in `folder`, in order. `remarks`: clauses about what is missing or left out."""

    folder: Path
    names: list[str]
    remarks: list[str]

    @property
    def paths(self) -> Iterable[Path]:
        return (self.folder / name for name in self.names)


def is_sequence(path: Path) -> bool:
    """Whether a path names a sequence: a pattern, unless a file has that name, or a folder whose images are numbered
    and that holds no video and no animation."""
    if path.is_dir():
        return _is_folder_of_images(path)
    return _PATTERN.search(path.name) is not None and not os.path.lexists(path)


def name_of(path: Path) -> str:
    """What a film of a sequence is called, without a suffix: that of its folder, or the fixed part of its pattern."""
    if path.is_dir():
        return path.resolve().name or "video"
    fixed = _PATTERN.sub("", Path(path.name).stem).strip("-_. ")
    return fixed or path.resolve().parent.name or "video"


def files_of(path: Path) -> list[Path]:
    """The images of a sequence; for any other path, that path."""
    return list(find_files(path).paths) if is_sequence(path) else [path]


def find_files(path: Path) -> SequenceFiles:
    """The images of a sequence. Raises OptionError if there are none, ImageError if the folder cannot be read."""
    return _in_folder(path) if path.is_dir() else _by_pattern(path)


def _by_pattern(path: Path) -> SequenceFiles:
    found = list(_PATTERN.finditer(path.name))
    if len(found) != 1:
        raise OptionError(f"{printable(path)} has {len(found)} places for numbers: give one, such as shot_%05d.png")
    (place,) = found
    digits = int(place[1] or 1)
    number = "0|[1-9][0-9]*" if digits == 1 else f"[0-9]{{{digits}}}|[1-9][0-9]{{{digits},}}"
    before, after = (part.replace("%%", "%") for part in (path.name[: place.start()], path.name[place.end() :]))
    name = re.compile(f"{re.escape(before)}({number}){re.escape(after)}", re.ASCII)
    folder = path.parent
    matches = {entry: match for entry in _names_in(folder)[0] if (match := name.fullmatch(entry))}
    if not matches:
        raise OptionError(f"{printable(path)} matches no file: check the path and the number of digits")
    names = sorted(matches, key=lambda entry: int(matches[entry][1]))
    return SequenceFiles(folder, names, _gaps([int(matches[entry][1]) for entry in names]))


def _in_folder(folder: Path) -> SequenceFiles:
    files, others = _names_in(folder)
    names = sorted(filter(_is_image, files), key=_natural)
    others += [name for name in files if not _is_image(name)]
    numbers = [int(_DIGITS.findall(Path(name).stem)[-1]) for name in names]
    is_one_series = len({_without_last_number(name) for name in names}) == 1
    remarks = _gaps(numbers) if is_one_series else []
    if others:
        listed = ", ".join(map(printable, sorted(others)[:_NAMED]))
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        remarks.append(f"holds files that are no numbered images, which are left out ({listed}{more})")
    return SequenceFiles(folder, names, remarks)


def _is_folder_of_images(folder: Path) -> bool:
    try:
        files, _ = _names_in(folder)
    except ImageError:
        return False
    images = sorted(filter(_is_image, files))
    holds_video = any(os.path.splitext(name)[1].lower() in SUFFIXES for name in files)  # noqa: PTH122
    return bool(images) and not holds_video and not is_animated(folder / images[0])


def _is_image(name: str) -> bool:
    """Whether a file is one of a folder's numbered images, by its name."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  a million names
    return formats.has_image_suffix(suffix) and _DIGITS.search(stem) is not None


def _names_in(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the files in a folder, and those of pipes and devices; hidden ones are left out."""
    files: list[str] = []
    others: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.is_dir():
                    continue
                (files if entry.is_file() else others).append(entry.name)
    except FileNotFoundError as error:
        raise OptionError(f"{printable(folder)} {absence_of(folder)}") from error
    except OSError as error:
        raise ImageError(f"{printable(folder)} cannot be searched ({reason_of(error)}): check its rights") from error
    return files, others


def _natural(name: str) -> list[tuple[int, str]]:
    """Orders 2 before 10."""
    texts, numbers = _DIGITS.split(name), [*map(int, _DIGITS.findall(name)), 0]
    return [pair for text, number in zip(texts, numbers, strict=True) for pair in ((0, text), (number, ""))]


def _without_last_number(name: str) -> tuple[str, str]:
    stem = os.path.splitext(name)[0]  # noqa: PTH122
    *_, last = _DIGITS.finditer(stem)
    return stem[: last.start()], stem[last.end() :]


def _gaps(numbers: list[int]) -> list[str]:
    """A clause about numbers that are missing or come twice, of those in order."""
    gaps = [(before + 1, after - 1) for before, after in pairwise(numbers) if after > before + 1]
    twice = [number for number, after in pairwise(numbers) if number == after]
    remarks = []
    if gaps:
        missing = sum(last - first + 1 for first, last in gaps)
        listed = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in gaps[:_NAMED])
        more = f" and {len(gaps) - _NAMED} more gaps" if len(gaps) > _NAMED else ""
        remarks.append(
            f"lacks {missing} of its numbers ({listed}{more}): the images around them follow each other directly"
        )
    if twice:
        remarks.append(f"has {len(twice)} numbers twice, the first of them {twice[0]}: all these images are shown")
    return remarks
