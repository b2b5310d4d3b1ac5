"""The page beside a report: its tables, and the best and worst outputs of each pair, in a single HTML file."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from starcast.atomic import write_text
from starcast.benchmarks.evaluation.images import EvaluationDomain
from starcast.benchmarks.evaluation.measure import SHOWN_SIDE, shrink
from starcast.benchmarks.evaluation.protocol import GENERATED, REFERENCE, pairs_of
from starcast.benchmarks.evaluation.report import Report, tables_of
from starcast.benchmarks.evaluation.work import TaskRecord
from starcast.errors import ImageError, printable
from starcast.images.fit import fit
from starcast.images.read import read_image

QUALITY = 90
GAP = 4
_MARK = re.compile(r"<!-- starcast evaluate ([0-9a-f]{64}) -->")
_HEAD = 1000  # characters in which the mark is

NOTE = (
    "FIDs and KID: smaller is better. LPIPS is the diversity of the outputs of one source: larger is more diverse. "
    "Features are from torchvision's Inception v3, so FID, clean FID and KID do not compare with those of programs "
    "that use TensorFlow's weights. The usual FID, if present, is from TensorFlow's Inception."
)
EXAMPLES_NOTE = (
    "The outputs whose features are nearest to those of a training image of the target domain, and the ones that are "
    "farthest from every training image, each with its distance to the nearest. "
    "Left to right: {}the output, the nearest training image."
)

Pixels = NDArray[np.uint8]


def page_beside(report: Path) -> Path:
    """Where the page of a report is."""
    return report.with_suffix(".html")


def plan_of(path: Path) -> str | None:
    """The hash that a page of ours begins with; None for any other file, and where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            match = _MARK.search(file.read(_HEAD))
    except (OSError, ValueError):
        return None
    return match[1] if match else None


def write_page(
    path: Path,
    report: Report,
    domains: Sequence[EvaluationDomain],
    records: Mapping[tuple[int, str, str], TaskRecord],
    seed: int,
    plan: str,
) -> None:
    """Write the page of a report, atomically, with the examples of one seed. Raises OSError."""
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("starcast.benchmarks.evaluation", "."), PackageLoader("starcast.benchmarks.demo", ".")]
        ),
        autoescape=True, undefined=StrictUndefined,
    )  # fmt: skip
    about = report["about"]
    content = {
        "plan": plan,
        "title": f"Evaluation of {printable(about['model']['path'])}",
        "lead": f"{about['model']['engine']}, {about['model']['precision']}, on {printable(about['data']['path'])}",
        "tables": [{"heading": title, "headers": headers, "rows": rows} for title, headers, rows in tables_of(report)],
        "note": NOTE,
        "examples_note": EXAMPLES_NOTE.format(_images_before(about["protocol"]["modes"])),
        "examples": _examples(domains, records, seed),
        "facts": json.dumps(about, indent=2),
    }
    write_text(path, environment.get_template("report.html.j2").render(**content))


def _images_before(modes: Sequence[str]) -> str:
    """The images that a row of examples shows before the output."""
    if GENERATED in modes:
        return ""
    return "the reference (if there is one), the source, " if REFERENCE in modes else "the source, "


def _examples(
    domains: Sequence[EvaluationDomain], records: Mapping[tuple[int, str, str], TaskRecord], seed: int
) -> list[dict[str, Any]]:
    pairs = {pair.name: pair for pair in pairs_of([domain.name for domain in domains])}
    examples = []
    for (of, mode, name), record in records.items():
        if of != seed:
            continue
        pair = pairs[name]
        source, target = domains[pair.source], domains[pair.target]
        half = (len(record.outputs) + 1) // 2
        strips = []
        for place, output in enumerate(record.outputs):
            nearest, reference = int(record.nearest[place]), int(record.references[place])
            images = [
                *([_thumbnail(target.held_out[reference])] if reference >= 0 else []),
                *([_thumbnail(source.held_out[int(record.sources[place])])] if source.held_out else []),
                output,
                *([_thumbnail(target.training[nearest])] if nearest >= 0 else []),
            ]
            word = "near" if place < half else "far"
            caption = f"{word}: {record.distances[place]:.2f}"
            strips.append({"uri": _jpeg_uri(_beside(images)), "caption": caption})
        title = f"{printable(source.name)} to {printable(target.name)}" if source.held_out else "all"
        examples.append({"heading": f"{title}, {mode}", "strips": strips})
    return examples


def _thumbnail(path: Path) -> Pixels:
    """A file's image, small; grey if it cannot be read any more."""
    try:
        return shrink(read_image(path))
    except ImageError:
        return np.full((SHOWN_SIDE, SHOWN_SIDE, 3), 128, np.uint8)


def _beside(images: Sequence[Pixels]) -> Pixels:
    """Images in a row on white, each of the largest one's size."""
    side = max(image.shape[0] for image in images)
    row = np.full((side, len(images) * (side + GAP) - GAP, 3), 255, np.uint8)
    for place, image in enumerate(images):
        left = place * (side + GAP)
        row[:, left : left + side] = fit(image, (side, side))
    return row


def _jpeg_uri(image: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
