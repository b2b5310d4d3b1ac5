"""Options of `starcast dataset make`. Imports nothing heavy: the command line is built from it."""

from __future__ import annotations

from dataclasses import dataclass

from starcast import flags
from starcast.errors import OptionError
from starcast.options import CheckedOptions, option


@dataclass(frozen=True, kw_only=True)
class CreatureOptions(CheckedOptions):
    """What a procedural set holds. Equal values give an equal set on every machine."""

    image_size: int = flags.image_size(64, maximum=512)
    train_images: int = option(600, "Training images per domain.", minimum=1, maximum=100_000)
    val_images: int = option(60, "Held-out images per domain.", minimum=1, maximum=10_000)
    seed: int = flags.seed(0)
    video_seconds: int = option(4, "Length of the video, in seconds.", minimum=1, maximum=60)
    overwrite: bool = flags.overwrite("Only a data set that this command made is replaced.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size & (self.image_size - 1):
            raise OptionError(f"--image-size is {self.image_size}: give a power of two, such as 64")
