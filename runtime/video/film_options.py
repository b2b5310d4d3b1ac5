"""The options that `starcast video` and `starcast morph` share: how frames are made and written."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import CheckedOptions, option

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
MAX_PIXELS = 2**26  # of a frame: 8192 x 8192, twice 8K


@dataclass(frozen=True, kw_only=True)
class FilmOptions(CheckedOptions):
    """How frames are made and written."""

    batch: int = option(4, "Frames that the engine gets at a time.", minimum=1, maximum=1024)
    backend: str = option("auto", "Engine; `starcast doctor` lists them. auto takes the fastest, measured once on this "
                          "machine.", metavar="NAME")  # fmt: skip
    precision: str = option("fp32", "Precision: fp32, bf16, int8, or auto for the fastest of those in the bundle, each "
                            "of which passed its gate.", metavar="NAME")  # fmt: skip
    threads: int | None = option(None, "Threads of the engine; by default, and at most, as many as this process may "
                                 "use.", minimum=1)  # fmt: skip
    memory: float | None = option(None, "GiB that translating may take beside the model; by default all that the "
                                  "machine or the container has. Batches are cut to it.", minimum=0.001)  # fmt: skip
    crf: int = option(18, "Quality of the H.264 film: 0 lossless, 18 hardly visible, 51 worst.", minimum=0, maximum=51)
    preset: str = option("medium", "How long the encoder looks for fewer bytes.", choices=PRESETS)
    overwrite: bool = option(False, "Replace the output if it is there.")
