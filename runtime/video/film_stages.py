"""The stages that make a film's frames, between `fit` and `encode`, and what they remember from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starcast.errors import VideoError
from starcast.runtime.faces.sight import Sight
from starcast.runtime.video.compose import COMPOSE, composer_for, composing
from starcast.runtime.video.faces import ALIGN, PUT_BACK, FilmFaces
from starcast.runtime.video.geometry import Geometry, geometry_of
from starcast.runtime.video.input.film import Film
from starcast.runtime.video.model_stages import FilmModel, translating, translating_faces
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.rehearsal import STAGES
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.memory import Memory
from starcast.runtime.video.smooth import SMOOTH, Smoother, smoothing

if TYPE_CHECKING:
    from starcast.runtime.video.compose import Making

FACE_STAGES = ("decode", "fit", ALIGN, "run", PUT_BACK, "encode")


@dataclass(frozen=True)
class FilmStages:
    """How a film's frames are fitted, the stages that make others of them, and the `memories` of these, by name."""

    geometry: Geometry
    making: Making
    memories: dict[str, Memory]


def stages_of(
    source: Film, model: FilmModel, sight: Sight | None, options: VideoOptions, report: FilmReport
) -> FilmStages:
    """The stages for a film, which remember nothing yet. Raises VideoError if the model does not take its frames."""
    translator = model.translator
    geometry = geometry_of(options, source, translator.size)
    height, width = geometry.size
    reason = translator.why_not(*(translator.size if options.align else geometry.size))
    if reason is not None:
        what = "--roi is a part" if options.roi else f"{source.name} has frames"
        raise VideoError(f"{what} of {width}x{height} pixels: {reason}")
    memories: dict[str, Memory] = {"model": model}
    making: Making = partial(translating, model=model, options=options, report=report)
    if sight is not None:
        side, every = translator.size[0], options.faces == "all"
        faces = FilmFaces(sight, side, source.rate, source.time_base, steady=options.steady, every=every)
        memories["faces"] = faces
        making = partial(translating_faces, model=model, options=options, report=report, faces=faces)
    if options.smooth:
        memories["smooth"] = smoother = Smoother(options.smooth)
        making = partial(smoothing, making=making, smoother=smoother, report=report)
    if options.composes:
        making = partial(composing, making=making, composer=composer_for(options), report=report)
    return FilmStages(geometry, making, memories)


def stage_names(options: VideoOptions) -> tuple[str, ...]:
    """The stages of a report, in the order of the work."""
    *before, encode = FACE_STAGES if options.align else STAGES
    return (*before, *([SMOOTH] if options.smooth else []), *([COMPOSE] if options.composes else []), encode)
