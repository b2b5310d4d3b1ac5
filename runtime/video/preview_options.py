"""The option of `video` that shows a few moments before the whole video is translated."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import CheckedOptions, option


@dataclass(frozen=True, kw_only=True)
class PreviewOptions(CheckedOptions):
    """Whether only a preview is made."""

    preview: bool = option(
        False, "Translate only the first seconds (OUT.preview.mp4) and moments of the whole video (OUT.preview.jpg), "
        "show how long the video would take, and stop.",
    )  # fmt: skip
