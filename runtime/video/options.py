"""The options of `video` and `morph`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from starcast import flags
from starcast.errors import OptionError
from starcast.images.fit import FITS, NATIVE
from starcast.options import option
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.options import LARGEST_BATCH, EngineChoice, FaceOptions, LabelOptions, StyleOptions
from starcast.runtime.seed_lists import parse_seeds
from starcast.runtime.video.geometry_options import GeometryOptions
from starcast.runtime.video.input.input_options import InputOptions, parse_rate
from starcast.runtime.video.input.trim_options import TrimOptions
from starcast.runtime.video.preview_options import PreviewOptions
from starcast.runtime.video.restart.restart_options import RestartOptions
from starcast.runtime.video.statistics_options import StatisticsOptions
from starcast.runtime.video.timeline.key_times import parse_duration
from starcast.runtime.video.timeline.recursion_options import RecursionOptions
from starcast.runtime.video.timeline.timeline_options import SHORTEST_STEP, KeyOptions, TimelineOptions

MAX_FRAME_PIXELS = 2**26  # of a video: 8192 x 8192, twice 8K
_USUAL_FIT = "crop"
_SLOWEST, _FASTEST = 1, 240  # frames per second of a morph


@dataclass(frozen=True, kw_only=True)
class FilmOptions(EncodingOptions, EngineChoice, RestartOptions, StatisticsOptions):
    """How the frames of `video` and `morph` are translated and written."""

    batch: int | None = flags.batch(None, "Default: the faster of 1 and 4.", maximum=LARGEST_BATCH)
    overwrite: bool = flags.overwrite()


@dataclass(frozen=True, kw_only=True)
class VideoOptions(
    FilmOptions,
    FaceOptions,
    GeometryOptions,
    TrimOptions,
    TimelineOptions,
    RecursionOptions,
    StyleOptions,
    InputOptions,
    PreviewOptions,
):
    """How `translate_video` translates."""

    domain: str | None = flags.domain()
    fit: str = flags.fit(_USUAL_FIT, FITS)
    steady: bool = flags.steady("Needs --align.")
    metadata: bool = flags.metadata("titles, dates, place, maker, chapters and so on")
    max_pixels: int = flags.max_pixels(MAX_FRAME_PIXELS, "Counted per frame.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_without_align(self.fit, _USUAL_FIT)
        if self.align:
            self.refuse_recursion("feeds whole frames back, and --align translates faces")
            if self.smooth:
                raise OptionError("--smooth follows whole frames, and --align translates faces: leave it out")
            self.refuse_to_put_back_faces()
        ways = {"--seed": self.seed is not None, "--ref": self.ref is not None}
        self.check_timeline(next((flag for flag, is_given in ways.items() if is_given), self.change_flag))
        if not self.align and not self.steady:
            raise OptionError("--no-steady has no effect without --align: add --align")


@dataclass(frozen=True, kw_only=True)
class MorphOptions(FilmOptions, KeyOptions, RecursionOptions, LabelOptions):
    """How `morph` renders its video: through references, seeds or label changes."""

    refs: tuple[str, ...] = flags.refs("The loop visits them in this order.")
    seeds: tuple[str, ...] = flags.seeds("Each makes a random style; the loop visits them in this order.")
    domain: str | None = flags.domain("cat,dog or all, with --seeds: each of these domains in turn.")
    psi: float = flags.psi()
    fit: str = flags.fit("stretch", FITS)
    fps: str = flags.fps("30", "From 1 to 240. --official halves it, as the official program does.")
    duration: str | None = option(
        None, "Length of the video, such as 60s or 1:30. A smooth curve, without rests, leads through the styles.",
        metavar="TIME",
    )  # fmt: skip
    frames_per_step: int = flags.frames_per_step(31, "About a third of them are at rest.", minimum=SHORTEST_STEP)
    official: bool = option(
        False,
        "Lay the video out as the official StarGAN v2 does: each SOURCE above its translation, beside a strip of the "
        "references. It goes from style to style within each domain, and does not loop.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        of_labels = bool(self.label_flags) or self.domain is not None
        if self.style_keys is not None:
            self._check_keys()
        elif (self.refs and self.seeds) or not (self.refs or self.seeds or of_labels):
            raise OptionError(
                "give either --refs or --seeds: the styles that the loop goes through (for a bundle steered by "
                "labels: --set, --unset, --flip, --labels or --domain)"
            )
        self._check_duration()
        if self.official and self.fit == NATIVE:
            raise OptionError("--official shows images of one size side by side: leave out --fit native")
        self.refuse_domain(self.domain)
        _ = self.chosen_seeds  # raises what is wrong with them
        if not _SLOWEST <= self.rate <= _FASTEST:
            raise OptionError(f"--fps takes {_SLOWEST} to {_FASTEST} frames per second here, not {self.fps}")

    @property
    def rate(self) -> Fraction:
        """The frames per second, exactly."""
        return parse_rate(self.fps)

    @property
    def chosen_seeds(self) -> list[int]:
        """The seeds of the loop, in order."""
        return parse_seeds(self.seeds, "--seeds")

    def _check_keys(self) -> None:
        given = {"--refs": bool(self.refs), "--seeds": bool(self.seeds)}
        other = next((flag for flag, is_given in given.items() if is_given), self.change_flag)
        if other is not None:
            raise OptionError(f"--style-keys and {other} exclude each other: the loop gets its styles from one of them")
        if self.duration is None:
            raise OptionError("--style-keys needs the length of the video: add --duration, such as --duration 10s")

    def _check_duration(self) -> None:
        if self.duration is not None:
            parse_duration(self.duration, "--duration")
            if self.frames_per_step != MorphOptions.frames_per_step:
                raise OptionError("--duration and --frames-per-step exclude each other: both say how long the video is")
        if self.official and (self.duration is not None or self.recursion is not None):
            flag = "--duration" if self.duration is not None else "--recursion"
            raise OptionError(f"--official has a layout and a length of its own: leave out {flag}")
