"""A live sink that is encoded: a recording, or a stream that is pushed to a server."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from starcast.absence import is_url
from starcast.errors import OptionError, VideoError, printable, reason_of
from starcast.images.fit import fit
from starcast.runtime.encoding import CONTAINERS
from starcast.runtime.live.captured import Translated
from starcast.runtime.video.colour import tag, to_coded

PUSHED = {"rtsp": "rtsp", "rtmp": "flv", "rtmps": "flv", "udp": "mpegts", "srt": "mpegts"}
RECORDED = (".mkv", ".mp4", ".mov")
# a recording is whole up to its last second, however the process ends
_WHOLE = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "cluster_time_limit": "1000", "flush_packets": "1"}
_X264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "20"}
_BETWEEN_KEYFRAMES = 30
_TICK = Fraction(1, 90_000)


def check_output(target: str, *, overwrite: bool) -> None:
    """Raise OptionError if nothing can be written there."""
    scheme = target.partition(":")[0].lower()
    if is_url(target):
        if scheme not in PUSHED:
            raise OptionError(f"{printable(target)} cannot be pushed to: give a URL of {', '.join(PUSHED)}, or a file")
        return
    path = Path(target)
    if path.suffix.lower() not in RECORDED:
        raise OptionError(f"{printable(target)} cannot be recorded: give a file that ends in {', '.join(RECORDED)}")
    if path.exists() and not overwrite:
        raise OptionError(f"{printable(target)} exists: give another name, or --overwrite")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"{printable(target)} cannot be written, its folder does not exist: create the folder first")


class EncodedSink:
    """Encodes translations as H.264, each at the time of its capture. Opened with the first frame, which decides the
    size. Raises VideoError where nothing can be written."""

    def __init__(self, target: str) -> None:
        self.name = printable(target)
        self._target = target
        self._container: Any = None
        self._stream: Any = None
        self._first = 0.0
        self._last = -1

    def show(self, result: Translated) -> bool:
        """Write a translation. Always true: the sink never ends by itself."""
        try:
            if self._container is None:
                self._open(result)
            image = fit(result.image, (self._stream.height, self._stream.width))
            frame = to_coded(np.ascontiguousarray(image))
            frame.pts = self._last = max(self._last + 1, round((result.at - self._first) / _TICK))
            frame.time_base = _TICK
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise VideoError(
                f"{self.name} cannot be written ({reason_of(error)}): check the place, and start again"
            ) from error
        return True

    def close(self) -> None:
        """Write what the encoder still holds, and close."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            with container:
                container.mux(self._stream.encode(None))
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self.name} cannot be finished ({reason_of(error)}): check the place") from error

    def give_up(self) -> None:
        """Close after a fault, whatever else goes wrong; the next translation opens it again."""
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(av.FFmpegError, OSError):
                container.close()

    def _open(self, result: Translated) -> None:
        scheme = self._target.partition(":")[0].lower()
        pushed = PUSHED[scheme] if is_url(self._target) else None
        kind = pushed or CONTAINERS[Path(self._target).suffix.lower()]
        options = {} if pushed else _WHOLE
        self._container = av.open(self._target, "w", format=kind, container_options=options, timeout=(5.0, 5.0))
        height, width = result.image.shape[:2]
        stream = self._stream = self._container.add_stream("libx264", rate=Fraction(30), options=dict(_X264))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.time_base = "yuv420p", _TICK
        context = stream.codec_context
        context.time_base, context.gop_size = _TICK, _BETWEEN_KEYFRAMES
        tag(context)
        self._first, self._last = result.at, -1
