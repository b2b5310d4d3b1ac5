"""Which files are those of a set of creatures: what `dataset make` wrote, and nothing that somebody added since."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starcast.leftovers import LOCK
from starcast.train.data.folders import is_made_by_system

FACTS = "creatures.json"
VIDEO = "creature.mp4"
FACTS_BYTES = 2**30  # of the facts of a hundred thousand images; a larger file is no set's

_IMAGE = re.compile(r"(\d{5,})\.png")


@dataclass(frozen=True)
class SetFiles:
    """The files of a set: images for each domain, numbered from 0, its facts, and its video."""

    folder: Path
    domains: tuple[str, ...]
    images: dict[str, int]  # split -> images of a domain

    def holds(self, path: Path) -> bool:
        """Whether a file or folder below the set's folder is the set's."""
        match path.relative_to(self.folder).parts:
            case (name,):
                return name in (FACTS, VIDEO, *self.domains)
            case (domain, split):
                return domain in self.domains and split in self.images
            case (domain, split, name):
                number = _IMAGE.fullmatch(name)
                return (
                    domain in self.domains and split in self.images and number is not None
                    and int(number[1]) < self.images[split] and name == f"{int(number[1]):05}.png"
                )  # fmt: skip
        return False

    def foreign(self) -> Iterator[Path]:
        """What lies in the folder and is not the set's, except what systems put everywhere."""
        for place, folders, files in os.walk(self.folder):
            for name in sorted([*files, *folders]):
                path = Path(place, name)
                if not (self.holds(path) or is_made_by_system(path) or name in (".DS_Store", LOCK)):
                    yield path


def set_files(folder: Path) -> SetFiles | None:
    """The files of the set in a folder; None if it holds no set, or its facts cannot be read."""
    try:
        if (folder / FACTS).stat().st_size > FACTS_BYTES:
            return None
        facts = json.loads((folder / FACTS).read_bytes())
        options = facts["options"]
        images = {"train": int(options["train_images"]), "val": int(options["val_images"])}
        return SetFiles(folder, tuple(str(domain) for domain in facts["domains"]), images)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
