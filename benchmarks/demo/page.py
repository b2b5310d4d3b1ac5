"""The demo's page: images, videos and figures in a single HTML file that can be mailed."""

from __future__ import annotations

import base64
import io
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from starcast.atomic import write_text
from starcast.benchmarks.bench.rows import title_of
from starcast.benchmarks.quality.creatures import BARS, LONG_BARS, Quality
from starcast.benchmarks.quality.measures import HeldOut
from starcast.export.gate.parity import LEVELS
from starcast.export.precisions import gate_of
from starcast.options import as_json, flag_of, flat_fields
from starcast.runtime import variants
from starcast.runtime.bundle import Bundle
from starcast.runtime.translator import Translator
from starcast.runtime.variants import Parity, Variant
from starcast.train.options import TrainOptions


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image on the page, with its heading; `uri` is a data URI."""

    heading: str
    caption: str
    uri: str
    style: str = "pixels"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value and its bar; `met` is None if there is no bar."""

    what: str
    value: str
    bar: str
    met: bool | None


def write_page(path: Path, **content: Any) -> None:
    """Fill the template and write the page, atomically. Raises UndefinedError if `content` lacks a value."""
    environment = Environment(
        loader=PackageLoader("starcast.benchmarks.demo", "."), autoescape=True, undefined=StrictUndefined
    )
    write_text(path, environment.get_template("page.html.j2").render(**content))


def png_uri(image: NDArray[np.uint8]) -> str:
    """An image, uint8 [H, W, 3], as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def file_uri(path: Path, media_type: str) -> str:
    """A file as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"


def quality_figures(quality: Quality) -> list[Figure]:
    """A row for each measure with its bar, then the judges' own accuracy."""
    figures = [_figure(measure, quality) for measure in LONG_BARS]
    patterns = [domain.pattern_accuracy for domain in quality.domains.values() if domain.pattern_accuracy is not None]
    judges = (
        ("the share put into the target domain by the pattern alone, without colour", float(np.mean(patterns or [0]))),
        ("the classifier's accuracy on real held-out images", quality.classifier_accuracy),
        ("the overlap of detected and true silhouettes on real images", quality.silhouette_accuracy),
    )
    return figures + [Figure(what=what, value=f"{value:.3f}", bar="—", met=None) for what, value in judges]


def _figure(measure: str, quality: Quality) -> Figure:
    bar, value = LONG_BARS[measure], quality.mean(measure)
    wanted = f"at least {bar.least:g}" if bar.least is not None else f"at most {bar.most:g}"
    sentence = bar.sentence.strip(",")
    if measure not in BARS:
        return Figure(what=sentence, value=f"{value:.2f}", bar=f"{wanted}, after a longer training", met=None)
    return Figure(what=sentence, value=f"{value:.3g}", bar=wanted, met=bar.missed_by(value) is None)


MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class VariantRow:
    """A variant's engines, form, precision, size and gate; `passed` is None if nothing was measured."""

    engines: str
    form: str
    precision: str
    size: str
    difference: str
    gate: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        return {True: "passed", False: "failed", None: "not measured"}[self.passed]


def variant_rows(bundle: Bundle) -> list[VariantRow]:
    """A row for each variant of a bundle, in the bundle's order."""
    return [_row(variant) for variant in bundle.manifest.variants]


def _row(variant: Variant) -> VariantRow:
    if variant.quality is not None:
        difference, gate, passed = _compare_quality(variant.quality, variant.precision)
    elif variant.parity is not None:
        difference, gate, passed = _compare_parity(variant.parity)
    else:
        difference, gate, passed = "—", "—", None
    return VariantRow(
        engines=", ".join(title_of(engine) for engine in variant.engines),
        form=f"{variant.form_name}, one style" if variant.one_style else variant.form_name,
        precision=variant.arithmetic, size=f"{variant.bytes / MEGABYTE:.1f} MB",
        difference=difference, gate=gate, passed=passed,
    )  # fmt: skip


def _compare_parity(parity: Parity) -> tuple[str, str, bool]:
    levels = "1 grey level" if parity.levels == 1 else f"{parity.levels} grey levels"
    passed = parity.worst <= parity.tolerance and parity.levels <= LEVELS
    return f"{levels} ({parity.worst:.0e} before rounding)", f"{LEVELS} grey level ({parity.tolerance:.0e})", passed


def _compare_quality(quality: variants.Quality, precision: str) -> tuple[str, str, bool]:
    """The PSNR, the gate, and whether it passed; mean and worst are the lowest of any domain."""
    mean = min(domain.psnr_mean for domain in quality.domains.values())
    worst = min(domain.psnr_worst for domain in quality.domains.values())
    gate = gate_of(precision)
    wanted = f"{gate.mean:g} dB" + (f", {gate.worst:g} at worst" if gate.worst else "")
    return f"{mean:.1f} dB, {worst:.1f} at worst", wanted, mean >= gate.mean and worst >= gate.worst


Sheet = NDArray[np.uint8]

ENLARGED = 2  # factor by which sheets are enlarged, so that the pattern survives browsers that smooth images
GAP = 4  # pixels between two images
SOURCES = 9  # columns


def draw_sheets(held_out: dict[str, HeldOut], translator: Translator) -> list[Picture]:
    """Held-out sources, translated by latents and by references."""
    return [
        Picture(
            heading="Translated by latent",
            caption="First row: held-out sources. Below: each translated to every domain, one seed a row.",
            uri=png_uri(latent_sheet(held_out, translator)),
        ),
        Picture(
            heading="Translated by reference",
            caption="First row: sources. Each row below takes its domain and style from the image at its left.",
            uri=png_uri(reference_sheet(held_out, translator)),
        ),
    ]


def latent_sheet(held_out: dict[str, HeldOut], translator: Translator, seeds: tuple[int, ...] = (0, 1)) -> Sheet:
    """Rows: sources, then one for each domain and seed; uint8 [H, W, 3]."""
    sources = _mixed(held_out, SOURCES)
    rows = [sources]
    for domain in held_out:
        rows += [translator(sources, translator.style(domain=domain, seed=seed)) for seed in seeds]
    return _sheet(rows)


def reference_sheet(held_out: dict[str, HeldOut], translator: Translator, each: int = 2) -> Sheet:
    """Rows: a blank and the sources, then a reference and every source in its style; uint8 [H, W, 3]."""
    sources = _mixed(held_out, SOURCES - 1)
    rows = [np.concatenate([np.full_like(sources[:1], 255), sources])]
    for domain, real in held_out.items():
        for reference in real.images[-each:]:
            translated = translator(sources, translator.style(domain=domain, reference=reference))
            rows.append(np.concatenate([reference[None], translated]))
    return _sheet(rows)


def _mixed(held_out: dict[str, HeldOut], count: int) -> Sheet:
    """The first `count` held-out images, from each domain in turn."""
    columns = [real.images for real in held_out.values()]
    return np.stack([columns[index % len(columns)][index // len(columns)] for index in range(count)])


def _sheet(rows: list[Sheet]) -> Sheet:
    """Rows of images of one size, laid out on white."""
    height, width = rows[0].shape[1:3]
    sheet = np.full((len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3), 255, np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * (height + GAP), column * (width + GAP)
            sheet[top : top + height, left : left + width] = image
    return sheet.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def commands_by_hand(out: Path, options: TrainOptions) -> str:
    """The commands that do the same by hand, one per line."""
    defaults, chosen = as_json(type(options)()), as_json(options)
    flag = {field.name: flag_of(field) for field, _ in flat_fields(type(options))}
    flags = [f"{flag[name]} {shlex.quote(str(value))}" for name, value in chosen.items() if value != defaults[name]]
    where = {name: shlex.quote(str(out / name)) for name in ("data", "run", "bundle", "translations")}
    return "\n".join(
        [
            f"starcast dataset make -o {where['data']} --seed {options.course.seed}",
            f"starcast train {where['data']} -o {where['run']} " + " ".join(flags),
            f"starcast export {where['run']}/checkpoints/step-{options.course.steps:06d}.pt -o {where['bundle']}",
            f"starcast translate {where['bundle']} {where['data']}/*/val -o {where['translations']} --domain all",
            f"starcast video {where['bundle']} {where['data']}/creature.mp4 -o creature.mp4 --domain spotted --seed 1",
        ]
    )
