"""The procedural set as files: images by domain, the facts of the held-out ones, and a video.

OUT/striped/train/00000.png …    OUT/striped/val/00000.png …    and so on for every domain
OUT/creatures.json               the options, and the pose and coat of every held-out image, enough to draw it again
OUT/creature.mp4                 one creature of the first domain, walking
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from starcast.atomic import atomic_folder, repair_folder
from starcast.errors import DatasetError
from starcast.hold import hold
from starcast.occupied import OVERWRITE, already, in_the_way
from starcast.train.creatures.anatomy import Pose
from starcast.train.creatures.coats import DOMAINS, Coat, random_coat
from starcast.train.creatures.draw import draw_creature
from starcast.train.creatures.files import FACTS, VIDEO, set_files
from starcast.train.creatures.options import CreatureOptions
from starcast.train.creatures.poses import random_pose
from starcast.train.creatures.video import write_walk

FORMAT = 1  # 1: options, and pose and coat of every held-out image
SPLITS = ("train", "val", "video")  # positions are part of the seed: add at the end only


@dataclass(frozen=True)
class CreatureSet:
    """A written set: the folder, its domains, the number of images per domain, and the video."""

    folder: Path
    domains: tuple[str, ...]
    train_images: int
    val_images: int
    video: Path

    @property
    def images(self) -> int:
        """All images of all domains."""
        return len(self.domains) * (self.train_images + self.val_images)


@dataclass(frozen=True)
class HeldOutCreature:
    """The facts of one held-out image; `draw_creature(pose, coat, size)` draws its image and silhouette again."""

    file: str  # relative to the set's folder
    pose: Pose
    coat: Coat


def make_dataset(
    out: Path, options: CreatureOptions, progress: Callable[[int, int], None] | None = None
) -> CreatureSet:
    """Draw a set into the folder `out`, which appears whole or not at all. `progress` gets (images done, total).

    Equal options give equal images. Raises DatasetError if `out` holds something else, or already holds a set
    and `overwrite` is not set, and OptionError if another process writes it.
    """
    out = Path(out).resolve()
    with hold(out):
        repair_folder(out)
        _refuse_to_lose(out, options.overwrite)
        return _draw_set(out, options, progress)


def _draw_set(out: Path, options: CreatureOptions, progress: Callable[[int, int], None] | None) -> CreatureSet:
    places = list(_places(options))
    drawings: list[_Drawing] = []
    with atomic_folder(out) as partial:
        for domain in DOMAINS:
            for split in ("train", "val"):
                (partial / domain / split).mkdir(parents=True)
        with ThreadPoolExecutor() as threads:
            for drawing in threads.map(lambda place: _write(partial, options, *place), places):
                drawings.append(drawing)
                if progress is not None:
                    progress(len(drawings), len(places))
        first = next(iter(DOMAINS))
        write_walk(partial / VIDEO, *creature_of(options.seed, first, "video", 0), options.video_seconds)
        (partial / FACTS).write_text(json.dumps(_facts(options, drawings), indent=1), encoding="utf-8")
    return CreatureSet(out, tuple(DOMAINS), options.train_images, options.val_images, out / VIDEO)


def creature_of(seed: int, domain: str, split: str, index: int) -> tuple[Pose, Coat]:
    """The pose and coat of one image, which depend only on the seed and the image's place in the set."""
    random = np.random.default_rng([seed, list(DOMAINS).index(domain), SPLITS.index(split), index])
    return random_pose(random), random_coat(random, domain)


def read_facts(folder: Path) -> tuple[int, dict[str, list[HeldOutCreature]]]:
    """The image size of a set, and the facts of its held-out images by domain. Raises DatasetError if it has none."""
    path = Path(folder) / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        creatures = {
            domain: [HeldOutCreature(fact["file"], Pose(**fact["pose"]), _coat_from(fact["coat"])) for fact in held_out]
            for domain, held_out in facts["held_out"].items()
        }
        return int(facts["options"]["image_size"]), creatures
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} does not hold the facts of a set of creatures ({error}): make one with `starcast dataset make`"
        ) from error


@dataclass(frozen=True)
class _Drawing:
    file: str
    domain: str
    split: str
    pose: Pose
    coat: Coat


def _places(options: CreatureOptions) -> Iterator[tuple[str, str, int]]:
    for domain in DOMAINS:
        for split, count in (("train", options.train_images), ("val", options.val_images)):
            for index in range(count):
                yield domain, split, index


def _write(folder: Path, options: CreatureOptions, domain: str, split: str, index: int) -> _Drawing:
    pose, coat = creature_of(options.seed, domain, split, index)
    file = f"{domain}/{split}/{index:05}.png"
    image, _ = draw_creature(pose, coat, options.image_size)
    Image.fromarray(image).save(folder / file, compress_level=4)
    return _Drawing(file, domain, split, pose, coat)


def _facts(options: CreatureOptions, drawings: list[_Drawing]) -> dict[str, Any]:
    held_out: dict[str, list[dict[str, Any]]] = {domain: [] for domain in DOMAINS}
    for drawing in drawings:
        if drawing.split == "val":
            held_out[drawing.domain].append(
                {
                    "file": drawing.file,
                    "pose": dataclasses.asdict(drawing.pose),
                    "coat": dataclasses.asdict(drawing.coat),
                }
            )
    values = {name: value for name, value in dataclasses.asdict(options).items() if name != "overwrite"}
    return {"format": FORMAT, "options": values, "domains": list(DOMAINS), "video": VIDEO, "held_out": held_out}


def _coat_from(fact: dict[str, Any]) -> Coat:
    red, green, blue = fact["colour"]
    return Coat(**{**fact, "colour": (red, green, blue)})


def _refuse_to_lose(out: Path, overwrite: bool) -> None:
    """Raise DatasetError if `out` holds anything but a set of creatures, or a set that must not be overwritten."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DatasetError(f"{out} is a file: give a folder that does not exist yet")
    if not any(out.iterdir()):
        return
    files = set_files(out)
    if files is None:
        raise DatasetError(already(out, "holds files that are not a set of creatures"))
    if not overwrite:
        raise DatasetError(already(out, "holds a set of creatures", OVERWRITE))
    foreign = next(files.foreign(), None)
    if foreign is not None:
        raise DatasetError(in_the_way(foreign, "no file of this set, which replacing the set would delete"))
