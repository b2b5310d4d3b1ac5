"""Choose a decoder that keeps transparency: FFmpeg's own for VP8 and VP9 drop it, libvpx's do not."""

from __future__ import annotations

from typing import Any

import av
from av.video.stream import VideoStream

_KEEPS_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def states_alpha(stream: VideoStream) -> bool:
    """Whether the container says that the stream has transparency its decoder may drop (WebM's AlphaMode)."""
    stated = {key.lower(): value for key, value in stream.metadata.items()}
    return stream.codec_context.name in _KEEPS_ALPHA and stated.get("alpha_mode") == "1"


def decoder_of(stream: VideoStream) -> Any:
    """What decodes the stream's packets, by `decode`: the stream itself, or a decoder that keeps its transparency."""
    if not states_alpha(stream) or alpha_note(stream) is not None:
        return stream
    context = stream.codec_context
    decoder: Any = av.CodecContext.create(_KEEPS_ALPHA[context.name], "r")
    decoder.extradata, decoder.options = context.extradata, context.options
    decoder.width, decoder.height = context.width, context.height
    decoder.thread_count = context.thread_count
    return decoder


def alpha_note(stream: VideoStream) -> str | None:
    """What becomes of transparency that this FFmpeg cannot decode, as a clause; None if there is none."""
    if states_alpha(stream):
        try:
            av.Codec(_KEEPS_ALPHA[stream.codec_context.name], "r")
        except ValueError:  # UnknownCodecError
            return "has transparency, which this FFmpeg cannot decode: what lies under it is shown"
    return None
