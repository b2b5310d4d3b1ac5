"""A video stream from the network, or a file at its own pace, as live frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from starcast.errors import OptionError, VideoError, printable, reason_of
from starcast.runtime.live.again import Again
from starcast.runtime.live.captured import Captured
from starcast.runtime.video.colour import to_rgb

_TIMEOUT_S = 5.0
_HTTP = "http,https,httpproxy,tls,tcp,crypto"
# scheme -> the protocols that FFmpeg may use for it: a playlist of the network leads to no file of this machine
PROTOCOLS = {
    "rtsp": "rtsp,rtp,rtcp,srtp,udp,tcp", "rtsps": "rtsps,rtsp,rtp,rtcp,srtp,tls,udp,tcp",
    "rtmp": "rtmp,tcp", "rtmps": "rtmps,rtmp,tls,tcp", "http": _HTTP, "https": _HTTP,
    "udp": "udp,rtp", "srt": "srt,udp",
}  # fmt: skip
# No `nobuffer`: it throws away what was read to find out what the stream is, and with that its first keyframe. These
# frames are decoded at once, and the newest is shown, so they delay nothing.
# seekable: else FFmpeg asks an HTTP server again, for the end of what has none
_LOW_DELAY = {
    "seekable": "0",
    "flags": "low_delay",
    "analyzeduration": "1000000",
    "rtsp_transport": "tcp",
}


class StreamSource:
    """Frames of a URL. After a fault of the network it connects again; a stream of a known length ends at its end."""

    def __init__(self, url: str, say: Callable[[str], None], stop: threading.Event) -> None:
        scheme = url.partition(":")[0].lower()
        if scheme not in PROTOCOLS:
            raise OptionError(f"{printable(url)} cannot be opened: give a URL of {', '.join(PROTOCOLS)}, or a file")
        self.name = printable(url)
        self._url = url
        self._options = {**_LOW_DELAY, "protocol_whitelist": PROTOCOLS[scheme]}
        self._again = Again(self.name, say, stop)
        self._stop = stop

    def frames(self) -> Iterator[Captured]:
        """Frames as they arrive. Raises VideoError if the stream was never there."""
        number = 0
        while not self._stop.is_set():
            reason = "the stream ended"
            try:
                with av.open(self._url, options=self._options, timeout=(_TIMEOUT_S, _TIMEOUT_S)) as container:
                    for frame in _decoded(container, self.name):
                        self._again.works()
                        yield _captured(number, frame, self.name)
                        number += 1
                        if self._stop.is_set():
                            return
                    if container.duration:
                        return
            except (av.FFmpegError, OSError) as error:
                reason = reason_of(error)
            self._again.wait(reason)


class FileSource:
    """Frames of a file, each at its time, as if it were a camera. `repeats`: it begins again at its end."""

    def __init__(self, path: Path, stop: threading.Event, *, repeats: bool = False) -> None:
        if not path.is_file():
            raise VideoError(f"{printable(path)} is no video file: check the path")
        self.name = printable(path)
        self._path = path
        self._stop = stop
        self._repeats = repeats

    def frames(self) -> Iterator[Captured]:
        """Frames at their times. Raises VideoError."""
        number = 0
        while not self._stop.is_set():
            first_number, began, first = number, time.monotonic(), None
            try:
                with av.open(str(self._path), options={"protocol_whitelist": "file"}) as container:
                    for frame in _decoded(container, self.name):
                        at = frame.time if frame.time is not None else 0.0
                        first = at if first is None else first
                        if self._stop.wait(max(0.0, began + at - first - time.monotonic())):
                            return
                        yield _captured(number, frame, self.name)
                        number += 1
            except av.FFmpegError as error:
                raise VideoError(f"{self.name} cannot be read ({reason_of(error)}): check the file") from error
            if not self._repeats or number == first_number:
                return


def _decoded(container: Any, name: str) -> Iterator[VideoFrame]:
    if not container.streams.video:
        raise VideoError(f"{name} has no video: give another source")
    frames: Iterator[VideoFrame] = container.decode(container.streams.video[0])
    return frames


def _captured(number: int, frame: VideoFrame, name: str) -> Captured:
    return Captured(number, time.monotonic(), lambda: to_rgb(frame, name, VideoReformatter()))
