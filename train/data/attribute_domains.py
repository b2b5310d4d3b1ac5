"""Domains made from a list of attributes, as a folder of links: `starcast dataset attributes`.

OUT/<domain>/train and OUT/<domain>/val hold a link to each image whose attributes the domain asks for. No image is
copied.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.atomic import atomic_folder, repair_folder
from starcast.errors import DatasetError, OptionError, printable, reason_of
from starcast.hold import hold
from starcast.occupied import already
from starcast.train.data.attributes import Listed, find_list, read_listed


@dataclass(frozen=True)
class DomainOfAttributes:
    """A domain's name, and the attributes that its images must have, or must not have."""

    name: str
    wanted: tuple[tuple[str, bool], ...]

    def matches(self, labels: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.bool_]:
        """Which rows (images, names) belong to the domain."""
        chosen = np.ones(len(labels), np.bool_)
        for attribute, has in self.wanted:
            chosen &= labels[:, names.index(attribute)] == has
        return chosen


def parse_domain(text: str) -> DomainOfAttributes:
    """`female=!Male`, `young_men=Male,Young`: attributes with commas, `!` for one that must be absent. Raises
    OptionError."""
    name, _, terms = text.partition("=")
    parts = [part.strip() for part in terms.split(",")]
    wanted = tuple((part.removeprefix("!").strip(), not part.startswith("!")) for part in parts)
    name = name.strip()
    if not all(attribute for attribute, _ in wanted):
        raise OptionError(f"--domain is {text!r}: give NAME=ATTRIBUTE, such as female=!Male or young_men=Male,Young")
    if not name or name.startswith(".") or Path(name).name != name or "/" in name or "\\" in name:
        raise OptionError(f"--domain has the name {name!r}: give one that a folder can have")
    return DomainOfAttributes(name, wanted)


def link_domains(
    folder: Path, out: Path, file: Path | None, domains: Sequence[DomainOfAttributes]
) -> tuple[Listed, dict[str, tuple[int, int]]]:
    """Write the folder of links, whole or not at all. Returns the list, and each domain's images: training, held out.

    Raises DatasetError if a domain has no training image or `out` holds something, and OptionError if two domains have
    one name.
    """
    names = [domain.name for domain in domains]
    if len({name.casefold() for name in names}) < len(names):
        raise OptionError(f"--domain gives a name twice: {', '.join(names)}")
    attributes = tuple(dict.fromkeys(attribute for domain in domains for attribute, _ in domain.wanted))
    listed = read_listed(file or find_list(folder), folder, attributes)
    out = out.absolute()
    with hold(out):
        repair_folder(out)
        if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
            raise DatasetError(already(out, "exists", "remove it"))
        counts = {}
        try:
            with atomic_folder(out) as partial:
                for domain in domains:
                    counts[domain.name] = _link(partial / domain.name, listed, domain)
        except OSError as error:
            raise DatasetError(
                f"{printable(error.filename2 or error.filename or out)} cannot be written ({reason_of(error)}): choose "
                "an -o on a file system with links"
            ) from error
    return listed, counts


def _link(place: Path, listed: Listed, domain: DomainOfAttributes) -> tuple[int, int]:
    """Link a domain's images; returns how many train and are held out. Raises DatasetError if none trains."""
    counts = []
    for split, paths, labels in (
        ("train", listed.training, listed.labels),
        ("val", listed.held_out, listed.held_out_labels),
    ):
        chosen = np.flatnonzero(domain.matches(labels, listed.names))
        (place / split).mkdir(parents=True)
        for number in chosen:
            path = paths[number]
            name = "-".join(path.relative_to(listed.folder).parts)  # unique, whatever subfolder it is in
            _link_one(path.absolute(), place / split / name)
        counts.append(len(chosen))
    if not counts[0]:
        wanted = ", ".join(f"{'' if has else '!'}{attribute}" for attribute, has in domain.wanted)
        raise DatasetError(f"no image of {printable(listed.file)} is {printable(wanted)}: the domain would be empty")
    return counts[0], counts[1]


def _link_one(image: Path, link: Path) -> None:
    try:
        link.symlink_to(image)
    except OSError:  # Windows lets only some users make symbolic links
        link.hardlink_to(image)
