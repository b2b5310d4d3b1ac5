"""Does a photograph that is turned and scaled align to the same square as the photograph itself?

    python -m starcast.benchmarks.studies.alignment photos -o benchmarks/results/alignment.json

Each photograph is aligned as it is, and after it was turned, scaled and moved in a larger frame. The landmark source is
the face detector alone (extra `faces`), or `--landmarks`. A figure is the largest distance of an eye's centre or a
mouth's corner, in pixels of the aligned square, between the two. Both times, the points of the untouched photograph are
mapped into the square, once directly and once through the known turn. So the figure measures the alignment, and not how
well the points that were found in two images agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tabulate import tabulate
from tqdm import tqdm

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import options_from
from starcast.errors import OptionError
from starcast.images.read import read_image
from starcast.options import CheckedOptions, option
from starcast.path_types import ExistingPath
from starcast.runtime.faces.finders import open_finder
from starcast.runtime.faces.points import FacePoints, FindFace
from starcast.runtime.faces.similarity import Matrix, similarity
from starcast.runtime.faces.warp import align
from starcast.runtime.folder.sources import find_sources

PROGRAM = "python -m starcast.benchmarks.studies.alignment"
SIZE = 256  # of the aligned square
POSES = ((25.0, 0.7), (-25.0, 1.4), (25.0, 0.4), (-25.0, 1.0))  # degrees, scale
FRAME = (110, 100, 90)  # colour around the turned photograph

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class AlignmentOptions(CheckedOptions):
    """What finds the faces, and where the results go."""

    landmarks: Path | None = flags.landmarks("Default: the face detector.")
    sheet: Path | None = option(
        None, "Image of every photograph, aligned as it is and after each turn, side by side (.png, .jpg).",
        metavar="FILE",
    )  # fmt: skip
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


def turn(image: Pixels, degrees: float, scale: float) -> tuple[Pixels, Matrix]:
    """The image, turned about its middle and scaled, in a frame that holds all of it; and the matrix to it."""
    height, width = image.shape[:2]
    angle = math.radians(degrees)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    across = math.ceil(abs(cosine) * width + abs(sine) * height)
    down = math.ceil(abs(sine) * width + abs(cosine) * height)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = [(across - 1) / 2, (down - 1) / 2] - linear @ [(width - 1) / 2, (height - 1) / 2]
    if scale < 1:  # else the turned photograph has moiré
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.6 * math.sqrt(1 / scale**2 - 1)), np.uint8)
    turned = cv2.warpAffine(image, matrix[:2], (across, down), flags=cv2.INTER_CUBIC, borderValue=FRAME)
    return np.asarray(turned, np.uint8), matrix


def distance(face: FacePoints, square: Matrix, other: Matrix) -> float:
    """The largest distance between the same point, an eye's centre or a mouth's corner, in two squares."""
    one, two = face.moved(square), face.moved(other)
    apart = np.concatenate([one.eyes - two.eyes, one.mouth - two.mouth])
    return float(np.hypot(apart[:, 0], apart[:, 1]).max())


def measure(image: Pixels, find: FindFace) -> tuple[list[float | None], list[Pixels]]:
    """For each pose, how far the alignment is off (None if no face was found); and the aligned images, the untouched
    one first. Raises OptionError if the image has no face."""
    face = find(image)
    if face is None:
        raise OptionError("no face")
    still = similarity(face, None, SIZE)
    figures: list[float | None] = []
    squares = [align(image, still, SIZE)]
    for degrees, scale in POSES:
        turned, matrix = turn(image, degrees, scale)
        seen = find(turned)
        if seen is None:
            figures.append(None)
            squares.append(np.zeros((SIZE, SIZE, 3), np.uint8))
            continue
        back = similarity(seen, None, SIZE)
        figures.append(distance(face, still, back @ matrix))
        squares.append(align(turned, back, SIZE))
    return figures, squares


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean and the largest figure of all photographs and poses, and how many faces were not found."""
    figures = [figure for row in rows for figure in row["pixels"]]
    known = [figure for figure in figures if figure is not None]
    return {
        "mean": round(float(np.mean(known)), 2), "largest": round(max(known), 2), "not_found": len(figures) - len(known)
    }  # fmt: skip


@click.command()
@click.argument("photos", type=ExistingPath(file_okay=False))
@options_from(AlignmentOptions)
def alignment(photos: Path, **values: Any) -> None:
    """Align photographs as they are and turned, and compare where eyes and mouth come to lie."""
    wanted = AlignmentOptions(**values)
    sources = find_sources([photos]).sources
    if not sources:
        raise OptionError(f"no images in {photos}: check the path")
    rows, sheet = [], []
    with open_finder(wanted.landmarks, SIZE) as finder:
        for source in tqdm(sources, unit=" photographs"):
            figures, squares = measure(read_image(source.path), finder.find)
            rows.append({"name": source.relative.as_posix(), "pixels": [f and round(f, 2) for f in figures]})
            sheet.append(np.concatenate(squares, axis=1))
    headers = ["photograph", *(f"{degrees:+g}°, x{scale:g}" for degrees, scale in POSES)]
    click.echo(tabulate([[row["name"], *row["pixels"]] for row in rows], headers, floatfmt=".2f"))
    whole = summarise(rows)
    click.echo(f"Mean {whole['mean']} pixels, largest {whole['largest']}, {whole['not_found']} faces not found.")
    if wanted.sheet is not None:
        Image.fromarray(np.concatenate(sheet)).save(wanted.sheet)
    if wanted.json is not None:
        question = "how far from its place does a turned and scaled face align, in pixels of a square of 256?"
        machine = provenance(threads=cv2.getNumThreads(), program=PROGRAM)
        poses = [{"degrees": degrees, "scale": scale} for degrees, scale in POSES]
        write_result(
            wanted.json,
            {"question": question, "machine": machine, "poses": poses, "source": finder.facts, "rows": rows, **whole},
        )


if __name__ == "__main__":
    alignment()
