"""One model for several live feeds: each round takes the newest frame of every feed that has one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.live.captured import Captured, Image, Translated
from starcast.runtime.live.newest import Ended, Newest
from starcast.signals import undisturbed

Style = NDArray[np.float32]
_POLL_S = 0.2


@dataclass(eq=False)
class Feed:
    """One source's way through the model. `prepare` fits a frame to the model's size; `style_at` gives the style [S] at
    a time of time.monotonic. Frames are put into `frames`, translations taken from `results`."""

    prepare: Callable[[Image], Image]
    style_at: Callable[[float], Style]
    frames: Newest[Captured]
    results: Newest[Translated] = field(default_factory=Newest)

    def close(self) -> None:
        """End the feed: after the frame that waits, `results` ends, too."""
        self.frames.close()


_Taken = tuple[Feed, Captured, Image]  # with the image that the model gets


class LiveModel:
    """Translates the newest frames of several feeds in a thread of its own.

    A round never waits for a slow feed, and no feed is left out of a round in which it has a frame. A feed whose
    results are taken slowly loses its own results only. An error while a feed's frame is prepared ends that feed; one
    of the model ends all.

    `translate`: a Translator, or what takes images [N, H, W, 3] and styles [N, S]. `sizes`: the batch sizes to use,
    with 1 among them. Leave it at 1 for OpenVINO: it recompiles the graph when a batch grows or stays smaller for a
    while, which takes seconds and would stop all feeds.
    """

    def __init__(self, translate: Callable[[Image, Style], Image], sizes: Sequence[int] = (1,)) -> None:
        self._translate = translate
        self._sizes = sorted(sizes, reverse=True)
        self._condition = threading.Condition()
        self._feeds: list[Feed] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="starcast-live-model", daemon=True)

    def __enter__(self) -> Self:
        with undisturbed():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        self._thread.join()

    def feed(
        self,
        prepare: Callable[[Image], Image],
        style_at: Callable[[float], Style],
        results: Newest[Translated] | None = None,
    ) -> Feed:
        """A new feed, which takes part in the next round. Closing it removes it. `results`: where its translations go,
        if not into a mailbox of its own."""
        feed = Feed(prepare, style_at, Newest(self._condition), results or Newest())
        with self._condition:
            if self._stopped:
                feed.results.close()
            else:
                self._feeds.append(feed)
        return feed

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            while self._wait():
                self._round()
        except BaseException as failure:  # noqa: BLE001  raised again where the results are taken
            error = failure
        with self._condition:
            self._stopped = True
            feeds, self._feeds = self._feeds, []
        for feed in feeds:
            feed.frames.close()
            feed.results.close(error)

    def _wait(self) -> bool:
        """Wait until a feed has a frame or has ended; whether to go on."""
        with self._condition:
            while not self._stopped and not any(feed.frames.is_waiting for feed in self._feeds):
                self._condition.wait(_POLL_S)
            return not self._stopped

    def _round(self) -> None:
        with self._condition:
            feeds = list(self._feeds)
        by_size: dict[tuple[int, ...], list[_Taken]] = {}
        for feed in feeds:
            try:
                frame = feed.frames.take(0)
                if frame is not None:
                    image = feed.prepare(frame.decode())
                    by_size.setdefault(image.shape, []).append((feed, frame, image))
            except Ended:
                self._end(feed, None)
            except Exception as error:  # noqa: BLE001  the other feeds go on
                self._end(feed, error)
        for taken in by_size.values():
            for part in _parts(taken, self._sizes):
                self._run(part)

    def _run(self, part: Sequence[_Taken]) -> None:
        began = time.monotonic()
        images = np.stack([image for _, _, image in part])
        styles = np.stack([feed.style_at(began) for feed, _, _ in part])
        translations = self._translate(images, styles)
        took = time.monotonic() - began
        for (feed, frame, image), translation in zip(part, translations, strict=True):
            feed.results.put(Translated(frame.number, frame.at, translation, image, took))

    def _end(self, feed: Feed, error: BaseException | None) -> None:
        feed.frames.close()
        feed.results.close(error)
        with self._condition:
            self._feeds.remove(feed)


def _parts(taken: list[_Taken], sizes: Sequence[int]) -> Iterator[list[_Taken]]:
    """The frames in batches of `sizes`, which begin with the largest and end with 1."""
    start = 0
    while start < len(taken):
        size = next(size for size in sizes if size <= len(taken) - start)
        yield taken[start : start + size]
        start += size
