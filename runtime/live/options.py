"""The options of `live`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from starcast import flags
from starcast.errors import OptionError
from starcast.images.fit import FITS
from starcast.options import option
from starcast.runtime.options import EngineChoice, StyleOptions
from starcast.runtime.video.input.input_options import parse_rate

_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


@dataclass(frozen=True, kw_only=True)
class LiveOptions(EngineChoice, StyleOptions):
    """How `translate_live` translates."""

    domain: str | None = flags.domain()
    fit: str = flags.fit("crop", FITS)
    camera: int | None = option(None, "Number of the camera. Default without a SOURCE: 0.", minimum=0)
    camera_size: str | None = option(
        None, "Size to ask the camera for, such as 1280x720. It may give another, which is shown.",
        metavar="WIDTHxHEIGHT",
    )  # fmt: skip
    fps: str | None = flags.fps(None, "Asked of the camera, which may give others.")
    repeat: bool = option(False, "Begin a file again at its end.")
    overwrite: bool = flags.overwrite()
    statistics: Path | None = option(
        None, "Show how the time was spent: the age of frames when they are shown, rates and dropped frames. Written "
        "to this JSON file.", metavar="FILE.json",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.asked_size, self.asked_fps  # raise what is wrong with them

    @property
    def asked_size(self) -> tuple[int, int] | None:
        """(width, height) to ask the camera for."""
        if self.camera_size is None:
            return None
        match = _SIZE.fullmatch(self.camera_size)
        if match is None:
            raise OptionError(f"--camera-size is WIDTHxHEIGHT, such as 1280x720, not {self.camera_size}")
        return int(match[1]), int(match[2])

    @property
    def asked_fps(self) -> float | None:
        """Frames per second to ask the camera for."""
        return None if self.fps is None else float(parse_rate(self.fps))
