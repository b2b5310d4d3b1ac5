"""What the demonstration's page shows: sheets of translations, and its figures as table rows."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.demo.page import Figure, Picture, png_uri
from starcast.benchmarks.quality.creatures import BARS, LONG_BARS, Quality
from starcast.benchmarks.quality.held_out import HeldOut
from starcast.options import as_json, flag_of
from starcast.runtime.bundle import Bundle
from starcast.runtime.manifest import Parity
from starcast.runtime.manifest import Quality as PrecisionQuality
from starcast.runtime.translator import Translator
from starcast.train.options import TrainOptions

Image = NDArray[np.uint8]

ENLARGED = 2  # each pixel of a sheet, so that browsers that smooth still show the pattern
GAP = 4  # pixels between two pictures of a sheet
SOURCES = 9  # columns


def sheets(held_out: dict[str, HeldOut], translator: Translator) -> list[Picture]:
    """The page's pictures: held-out sources by latents, and by references."""
    return [
        Picture(
            heading="Translated by latent",
            caption="First row: held-out sources. Below: each translated to every domain, one seed a row.",
            uri=png_uri(latent_sheet(held_out, translator)),
        ),
        Picture(
            heading="Translated by reference",
            caption="First row: sources. Each row below takes domain and style from the picture at its left.",
            uri=png_uri(reference_sheet(held_out, translator)),
        ),
    ]


def latent_sheet(held_out: dict[str, HeldOut], translator: Translator, seeds: tuple[int, ...] = (0, 1)) -> Image:
    """Rows: sources, then each domain with each seed; uint8 [H, W, 3]."""
    sources = _mixed(held_out, SOURCES)
    rows = [sources]
    for domain in held_out:
        rows += [translator(sources, translator.style(domain=domain, seed=seed)) for seed in seeds]
    return _sheet(rows)


def reference_sheet(held_out: dict[str, HeldOut], translator: Translator, each: int = 2) -> Image:
    """Rows: a blank and the sources, then a reference and every source in its style; uint8 [H, W, 3]."""
    sources = _mixed(held_out, SOURCES - 1)
    rows = [np.concatenate([np.full_like(sources[:1], 255), sources])]
    for domain, real in held_out.items():
        for reference in real.images[-each:]:
            translated = translator(sources, translator.style(domain=domain, reference=reference))
            rows.append(np.concatenate([reference[None], translated]))
    return _sheet(rows)


def quality_figures(quality: Quality) -> list[Figure]:
    """A row a measure, with its bar, and the judges' own accuracy."""
    figures = [_figure(measure, quality) for measure in LONG_BARS]
    patterns = [domain.pattern_accuracy for domain in quality.domains.values() if domain.pattern_accuracy is not None]
    judges = (
        ("the share put into the target domain by the pattern alone, without colour", float(np.mean(patterns or [0]))),
        ("the classifier's accuracy on real held-out images", quality.classifier_accuracy),
        ("the overlap of found with true silhouettes on real images", quality.silhouette_accuracy),
    )
    return figures + [Figure(what=what, value=f"{value:.3f}", bar="—", met=None) for what, value in judges]


def parity_figures(bundle: Bundle) -> list[Figure]:
    """What the export's gates measured: two rows a float32 variant, one for a domain of the others."""
    figures = []
    for variant in bundle.manifest.variants:
        name = f"{variant.form_name}, {variant.arithmetic}"
        if variant.parity is not None:
            figures += _exact_figures(name, variant.parity)
        if variant.quality is not None:
            figures += _quantised_figures(name, variant.quality)
    return figures


def _exact_figures(name: str, parity: Parity) -> list[Figure]:
    return [
        Figure(
            what=f"{name}: largest difference before rounding, × max(1, |value|)", value=f"{parity.worst:.1e}",
            bar=f"{parity.tolerance:.0e}", met=parity.worst <= parity.tolerance,
        ),
        Figure(
            what=f"{name}: largest difference of the bytes, in grey levels", value=str(parity.levels), bar="1",
            met=parity.levels <= 1,
        ),
    ]  # fmt: skip


def _quantised_figures(name: str, quality: PrecisionQuality) -> list[Figure]:
    return [
        Figure(
            what=f"{name}: PSNR into {domain} over {found.pictures} pictures, mean and worst, in dB",
            value=f"{found.psnr_mean:.1f} and {found.psnr_worst:.1f}", bar="—", met=None,
        )
        for domain, found in quality.domains.items()
    ]  # fmt: skip


def commands(out: Path, options: TrainOptions) -> str:
    """The same by hand, a command a line."""
    defaults, chosen = as_json(type(options)()), as_json(options)
    flags = [f"{flag_of(name)} {value}" for name, value in chosen.items() if value != defaults[name]]
    where = {name: shlex.quote(str(out / name)) for name in ("data", "run", "bundle", "translations")}
    return "\n".join(
        [
            f"starcast dataset make {where['data']} --seed {options.course.seed}",
            f"starcast train {where['data']} -o {where['run']} " + " ".join(flags),
            f"starcast export {where['run']}/checkpoints/step-{options.course.steps:06d}.pt -o {where['bundle']}",
            f"starcast translate {where['bundle']} {where['data']}/*/val -o {where['translations']} --domain all",
            f"starcast video {where['bundle']} {where['data']}/creature.mp4 -o creature.mp4 --domain spotted --seed 1",
        ]
    )


def _figure(measure: str, quality: Quality) -> Figure:
    bar, value = LONG_BARS[measure], quality.mean(measure)
    wanted = f"at least {bar.least:g}" if bar.least is not None else f"at most {bar.most:g}"
    sentence = bar.sentence.strip(",")
    if measure not in BARS:
        return Figure(what=sentence, value=f"{value:.2f}", bar=f"{wanted}, after a longer training", met=None)
    return Figure(what=sentence, value=f"{value:.3g}", bar=wanted, met=bar.missed_by(value) is None)


def _mixed(held_out: dict[str, HeldOut], count: int) -> Image:
    """The first held-out images, the domains in turn."""
    columns = [real.images for real in held_out.values()]
    return np.stack([columns[index % len(columns)][index // len(columns)] for index in range(count)])


def _sheet(rows: list[Image]) -> Image:
    """Rows of pictures of one size laid out on white."""
    height, width = rows[0].shape[1:3]
    sheet = np.full((len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3), 255, np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            top, left = row * (height + GAP), column * (width + GAP)
            sheet[top : top + height, left : left + width] = picture
    return sheet.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
