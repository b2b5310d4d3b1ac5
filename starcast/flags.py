"""Flags that several commands share: each is defined here once, so that it has one name, one type and one meaning.

Every function returns a field for an options class. `more` is a command's addition to the shared help text. Imports no
click.
"""

from __future__ import annotations

from typing import Any

from starcast.options import option

DEVICES = ("auto", "cpu", "cuda")
OUT_FLAGS = ("-o", "--out")
OUT_ALIASES = ("--output",)


def out(default: Any, what: str, *, aliases: tuple[str, ...] = (), takes_stream: bool = False) -> Any:
    """`-o/--out` as a field; `what` describes the output and its formats. `takes_stream`: `-` is standard output."""
    return option(
        default, f"Output: {what}", flags=OUT_FLAGS, aliases=(*OUT_ALIASES, *aliases), metavar="OUT",
        takes_stream=takes_stream,
    )  # fmt: skip


def seed(default: int | None, more: str = "", *, maximum: int | None = None) -> Any:
    return option(default, _text("Seed for every random draw.", more), minimum=0, maximum=maximum)


def device() -> Any:
    return option("auto", "Device to compute on; auto: an NVIDIA GPU if there is one, else the CPU.", choices=DEVICES)


def batch(default: int | None, more: str = "", *, maximum: int | None = None, aliases: tuple[str, ...] = ()) -> Any:
    return option(
        default, _text("Images per batch.", more), flags=("--batch",), minimum=1, maximum=maximum, aliases=aliases
    )


def download() -> Any:
    return option(False, "Download missing weights. By default nothing is downloaded.")


def overwrite(more: str = "") -> Any:
    return option(False, _text("Overwrite existing output.", more))


def image_size(default: int | None, more: str = "", *, minimum: int = 32, maximum: int | None = None) -> Any:
    return option(
        default, _text("Height and width of an image in pixels, a power of two.", more), minimum=minimum,
        maximum=maximum,
    )  # fmt: skip


def steps(default: int, more: str = "") -> Any:
    return option(default, _text("Training steps.", more), minimum=1)


def rounds(default: int) -> Any:
    return option(default, "Maximum number of rounds; each row runs once per round.", minimum=1, maximum=1000)


def threads(more: str) -> Any:
    return option(None, _text("CPU threads to use.", more), minimum=1)


def precision(default: str, choices: tuple[str, ...], more: str = "") -> Any:
    return option(default, _text("Precision to compute in.", more), choices=choices)


def backend(default: str | None, more: str, *, aliases: tuple[str, ...] = ()) -> Any:
    return option(
        default,
        _text("Engine to use; `starcast doctor` lists them.", more),
        flags=("--backend",),
        aliases=aliases,
        metavar="NAME",
    )


def remeasure() -> Any:
    return option(False, "Measure again which engine is the fastest on this machine; ignore the cached result.")


def domain(more: str = "") -> Any:
    return option(None, _text("Domain to translate to, by name or by number from 0.", more), metavar="NAME")


def domains(more: str) -> Any:
    return option(
        (), _text("Names of the domains, in order; put a name with a comma in double quotes.", more), metavar="NAME,…"
    )


def attributes(more: str) -> Any:
    return option((), _text("Names of the attributes, in the order used in training.", more), metavar="NAME,…")


def label_names(what: str, *, default: Any = ()) -> Any:
    """A list of a bundle's labels by name; `what` is the help text."""
    return option(default, what, metavar="NAME,…")


def psi(of: str = "the domain's mean style") -> Any:
    """`of`: where 0 leads."""
    return option(1.0, f"Strength of the style: 1 keeps it, 0 gives {of}.", minimum=0.0, maximum=2.0)


def seeds(more: str, default: tuple[str, ...] = ()) -> Any:
    return option(default, _text("Seeds and ranges of seeds.", more), metavar="1,2,7-9,…")


def refs(more: str) -> Any:
    return option(
        (), _text("Reference images in order, or one folder of them. Without --domain, each name must begin with its "
        "domain.", more), metavar="A.jpg,B.jpg,…",
    )  # fmt: skip


def frames_per_step(default: int | None, more: str, *, minimum: int) -> Any:
    return option(default, _text("Frames from one style to the next.", more), minimum=minimum)


def image_format(more: str) -> Any:
    return option("png", _text("Image format.", more), choices=("png", "jpg", "webp"))


def quality() -> Any:
    return option(
        None, "Quality of JPEG and WebP; 100 is the best. Default: JPEG 95, WebP lossless.", minimum=1, maximum=100
    )


def fit(default: str, choices: tuple[str, ...]) -> Any:
    return option(
        default,
        "How an image is fitted to the model's size. stretch: as the official code does; crop: the centre; "
        "pad: with black bars; native: translate at the image's own size.",
        choices=choices,
    )


def metadata(what: str) -> Any:
    """`--no-metadata`; `what` names the metadata that is kept without it."""
    return option(
        True, f"Keep the source's metadata. --no-metadata drops all of it: {what}, including the GPS position."
    )


def keep_alpha(formats: str) -> Any:
    """`formats`: those that can be transparent."""
    return option(
        False, f"Make output as transparent as its source: {formats}. Transparent areas are read as white either way."
    )


def fps(default: str | None, more: str) -> Any:
    return option(default, _text("Frames per second, such as 24, 29.97 or 30000/1001.", more), metavar="RATE")


def restart() -> Any:
    """`--restart`."""
    return option(False, "Start over. By default, the same command goes on where an interrupted video stopped.")


def steady(more: str = "") -> Any:
    """`--no-steady`."""
    return option(
        True, _text("Average a face's position in a video over a fifth of a second before and after each frame, so "
        "that it does not jitter. --no-steady uses the position that was found in each frame.", more),
    )  # fmt: skip


def landmarks(more: str = "") -> Any:
    return option(
        None, _text("Weights of a face model's landmark network: the official wing.ckpt, or a face checkpoint.", more),
        flags=("--landmarks",), metavar="FILE",
    )  # fmt: skip


def mean(more: str = "") -> Any:
    return option(
        None, _text("Mean landmarks to align to: the official celeba_lm_mean.npz. Default: the CelebA-HQ "
        "crop rule, which needs only eyes and mouth.", more), metavar="FILE",
    )  # fmt: skip


def max_pixels(default: int, more: str = "") -> Any:
    return option(default, _text("Refuse a source with more pixels than this, before decoding it.", more), minimum=1)


def _text(shared: str, more: str) -> str:
    return f"{shared} {more}".rstrip()
