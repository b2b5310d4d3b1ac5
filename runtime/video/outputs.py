"""Opens what a film is written to, by the suffix of its name."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from starcast.runtime.encoding import ANIMATIONS, EncodingOptions
from starcast.runtime.video.animated_output import AnimatedOutput
from starcast.runtime.video.codecs import complete
from starcast.runtime.video.sink import Sink


def open_sink(
    path: Path,
    name: str,
    size: tuple[int, int],
    rate: Fraction,
    time_base: Fraction,
    encoding: EncodingOptions,
    **settings: Any,
) -> Sink | AnimatedOutput:
    """The output for frames of `size`, as `Sink` takes them. Raises OptionError, VideoError."""
    kind = AnimatedOutput if path.suffix.lower() in ANIMATIONS else Sink
    return kind(path, name, size, rate, time_base, complete(encoding, path), **settings)
