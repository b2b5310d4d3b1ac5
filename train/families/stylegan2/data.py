"""The images of a folder, without domains: in the folder itself, in its subfolders, and held-out ones apart.

DIR/*.jpg  DIR/any/folders/*.jpg        all train
DIR/{train,val,test}/…                  val and test are held out
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from starcast.atomic import repair_folder
from starcast.errors import DatasetError, printable
from starcast.images.formats import READ_IN_WORDS
from starcast.train.data.folders import DataSet, Domain, images_below, is_held_out, is_made_by_system
from starcast.train.families.stylegan2.networks import DOMAIN_NAMES
from starcast.train.families.stylegan2.options import StyleGAN2Options


def scan_images(path: Path, options: StyleGAN2Options) -> DataSet:
    """All images below a folder. Raises DatasetError if there is none to train on."""
    path = Path(path)
    repair_folder(path)
    if not path.is_dir():
        raise DatasetError(f"{printable(path)} is not a folder: give a folder of images")
    images = sorted(images_below(path))
    unused = tuple(sorted(files_below(path, set(images))))
    held_out = tuple(image for image in images if is_held_out(image.relative_to(path)))
    training = tuple(image for image in images if not is_held_out(image.relative_to(path)))
    if not training:
        raise DatasetError(f"{printable(path)} has no training image: add some ({READ_IN_WORDS})")
    return DataSet(path, (Domain(DOMAIN_NAMES[0], training, held_out),), unused, has_domains=False)


def files_below(folder: Path, known: set[Path]) -> Iterator[Path]:
    """The files in a folder and its subfolders that are not `known`, without those of systems and hidden ones."""
    for place, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".") and not is_made_by_system(Path(place, name))]
        for name in files:
            path = Path(place, name)
            if path not in known and not name.startswith(".") and not is_made_by_system(path):
                yield path
