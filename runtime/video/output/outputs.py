"""Opens what a film is written to, by the suffix of its name."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from starcast.runtime.encoding import ANIMATIONS, EncodingOptions, is_sequence
from starcast.runtime.video.output.animated_output import AnimatedOutput, FromFilm
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.output.image_sequence_output import SequenceOutput
from starcast.runtime.video.output.sink import Sink


def open_sink(
    path: Path,
    name: str,
    size: tuple[int, int],
    rate: Fraction,
    time_base: Fraction,
    encoding: EncodingOptions,
    **settings: Any,
) -> Sink | FromFilm:
    """The output for frames of `size`, as `Sink` takes them. Raises OptionError, VideoError."""
    settled = complete(encoding, path)
    if is_sequence(path):
        return SequenceOutput(path, name, size, rate, time_base, settled, **settings)
    if path.suffix.lower() in ANIMATIONS:
        return AnimatedOutput(path, name, size, rate, time_base, settled, **settings)
    return Sink(path, name, size, rate, time_base, settled, **settings)
