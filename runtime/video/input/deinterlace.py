"""De-interlace frames by FFmpeg's bwdif: as many frames come out as go in, at the same times.

Only frames that are flagged as interlaced are changed, each by its own field order. A film without any costs nothing:
the filter is opened at the first one.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from starcast.runtime.video.input.film import Frame

if TYPE_CHECKING:
    from starcast.runtime.video.input.film import Item

FILTER = "bwdif"


def is_possible() -> bool:
    """Whether this FFmpeg has the filter."""
    return FILTER in av.filter.filters_available


def deinterlace(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; a frame comes one later than it is read, because the filter looks at the next one."""
    filtering = _Filtering()
    for item in items:
        if isinstance(item, Frame):
            yield from filtering.push(item)
        else:
            yield item
    yield from filtering.drain()


class _Filtering:
    """The filter over frames of one size and format, and those that are inside it."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._kind: tuple[int, int, str] | None = None  # that the graph, or the attempt to open one, is for
        self._inside: deque[Frame | None] = deque()  # None: was given out before, without the filter
        self._previous: Frame | None = None

    def push(self, item: Frame) -> Iterator[Frame]:
        frame = item.frame
        kind = (frame.width, frame.height, frame.format.name)
        if self._kind not in (None, kind):
            yield from self.drain()
        if self._kind is None and frame.interlaced_frame:
            self._kind, self._graph = kind, _open(*kind)
            if self._graph is not None and self._previous is not None and _is_like(self._previous.frame, frame):
                self._push(self._previous.frame, None)
        if self._graph is None:
            yield item
        else:
            self._push(frame, item)
            yield from self._pull()
        self._previous = item

    def drain(self) -> Iterator[Frame]:
        """The frames that are inside. The next frame opens the filter anew."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            yield from (item for item in self._inside if item is not None)
        self._inside.clear()
        self._graph = self._kind = None

    def _push(self, frame: VideoFrame, item: Frame | None) -> None:
        assert self._graph is not None
        self._inside.append(item)
        self._graph.push(frame)

    def _pull(self) -> Iterator[Frame]:
        assert self._graph is not None
        while self._inside:
            try:
                frame: Any = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            item = self._inside.popleft()
            if item is not None:
                yield dataclasses.replace(item, frame=frame)


def _open(width: int, height: int, pixel_format: str) -> Graph | None:
    """The filter; None if it does not take such frames, because they are a few lines small."""
    graph = Graph()
    source = graph.add(
        "buffer", video_size=f"{width}x{height}", pix_fmt=pixel_format, time_base="1/25", pixel_aspect="0/1"
    )
    try:
        bwdif = graph.add(FILTER, mode="send_frame", parity="auto", deint="interlaced")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    except av.FFmpegError:
        return None
    return graph


def _is_like(frame: VideoFrame, other: VideoFrame) -> bool:
    return (frame.width, frame.height, frame.format.name) == (other.width, other.height, other.format.name)
