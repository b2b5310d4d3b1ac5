"""What every source of a video offers, whatever its frames come from: `Source` reads films, `Animation` images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from av.audio.frame import AudioFrame
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from starcast.runtime.video.input.advice import COPY
from starcast.runtime.video.input.orientation import Matrix
from starcast.runtime.video.input.tags import UNSTATED, Tags


@dataclass(frozen=True)
class Frame:
    """A decoded frame, and when and how it is shown.

    `pts` and `duration` are ticks of the source's time base. `square_size` is (height, width) with square pixels;
    `orientation` turns the frame upright afterwards. `keeps_alpha`: its transparency is wanted. `alpha`: that, uint8
    [H, W], where `frame` lacks it, because it lies on white already.
    """

    frame: VideoFrame
    pts: int
    duration: int
    square_size: tuple[int, int]
    orientation: Matrix
    keeps_alpha: bool = False
    alpha: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Sound:
    """Decoded sound, and the index of its stream."""

    frame: AudioFrame
    stream: int


if TYPE_CHECKING:  # only the type checker knows a packet's stream type
    Item = Frame | Sound | Packet[Any]


class Film(ABC):
    """An open video. Use it in `with`; `read` it once.

    While it is read, `damaged` and `patched` count errors, `ends_early` becomes true if the file is truncated,
    and `is_followed` if another film lies behind its end; `zeros_at_end` are bytes of 0 that it ends in.
    """

    name: str  # of the file, printable
    rate: Fraction  # frames per second
    time_base: Fraction
    frames: int  # 0: unknown
    shown_size: tuple[int, int]  # (height, width) of the first frame
    start_s: Fraction = Fraction(0)
    begins_s: Fraction = Fraction(0)  # when the first frame is shown: sound may begin before it
    stated: Tags = UNSTATED
    sound_advice: str = COPY
    changes: Sequence[str] = ()  # clauses; more may come while it is read
    patched: int = 0  # frames in which the decoder had to guess
    ends_early: bool = False
    is_followed: bool = False
    zeros_at_end: int = 0
    is_trimmed: bool = False  # it is a part of a film: sound before 0 or from `lasts_s` on is not wanted
    lasts_s: Fraction | None = None  # of a part: how long it is, if its end was given
    last_changes: Sequence[str] = ()  # clauses about what was done to its frames; complete once it was read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def read(self, audio_to_decode: Set[int] = frozenset()) -> Iterator[Item]:
        """Frames, decoded sound of the streams in `audio_to_decode`, and packets of the other streams."""

    def seek(self, time_s: Fraction) -> None:  # noqa: B027  most kinds of films cannot
        """Let `read` begin shortly before a time, in seconds from 0 of the film, where the file can be entered in the
        middle; else it begins at the start. Frames keep their times if the file's clock is whole.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @property
    def duration_s(self) -> Fraction | None:
        """When the last frame ends, in seconds, as far as the file tells; None: unknown."""
        return self.begins_s + self.frames / self.rate if self.frames else None

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded."""
        return 0

    @property
    def problems(self) -> Sequence[str]:
        """A sentence for each further thing that could not be read."""
        return ()

    @property
    def holes(self) -> int:
        """How many parts in the middle of the file could not be read."""
        return 0

    @property
    def first_hole_s(self) -> Fraction | None:
        """When the first of them begins, in seconds; None if that is unknown."""
        return None

    @property
    def lacks_streams(self) -> bool:
        """Whether the file was joined from recordings of which a later one has streams that the first lacks."""
        return False

    @property
    def has_late_streams(self) -> bool:
        """Whether streams appeared that were not there when the file was opened: they were not read."""
        return False

    @property
    def index(self) -> int:
        """The index of the stream that is translated."""
        return 0

    @property
    def others(self) -> Sequence[Stream]:
        """Every stream except the one that is translated and those of other programmes."""
        return ()

    @property
    def other_programmes(self) -> Sequence[Stream]:
        """The streams that belong to another programme of a broadcast than the one that is translated."""
        return ()

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's own metadata: title, date, place."""
        return {}

    def stream_metadata(self, index: int) -> Mapping[str, str]:
        """A stream's metadata: language, title."""
        return {}

    @property
    def chapters(self) -> list[Any]:
        """The chapters, as PyAV has them."""
        return []
