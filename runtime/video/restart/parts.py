"""The folder beside a film in which its segments lie until it is whole: `.out.mp4.starcast-parts`.

    journal.jsonl       which film this is, and a line for each whole segment (journal.py)
    000000.nut          the packets of a segment, written aside and renamed
    state-000000.npz    what the stages remember after it; large ones only of the last two segments

It is ours by its name and its journal. A folder of that name without a journal is somebody else's, and stays as it is.
Whoever writes here holds the film (`starcast.hold`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import numpy as np

from starcast import __version__
from starcast.atomic import atomic_path
from starcast.errors import OptionError, printable, reason_of
from starcast.hold import short_name
from starcast.leftovers import LOCK, PARTIAL, sweep
from starcast.occupied import in_the_way
from starcast.runtime.video.restart.journal import (
    Segment,
    append,
    cut,
    read_header,
    read_segments,
    write_header,
)
from starcast.runtime.video.restart.memory import State

if TYPE_CHECKING:
    from starcast.runtime.video.film_record import FilmRecord

_JOURNAL = "journal.jsonl"
_OURS = re.compile(r"(?:state-)?([0-9]{6,})\.(?:nut|mkv|mov|npz)")
# states are kept, so that the film goes on before a damaged segment; of larger ones, so many
_SMALL, _LARGE_STATES = 2**16, 2
# a fact that differs -> why the parts are of no use
_REASONS = {"settings": "with other options", "content": "from another source", "engine": "with another engine"}


class _Whole(NamedTuple):
    """How far the journal is right: so many segments and frames, up to a byte; the state's hash behind them."""

    segments: int
    frames: int
    end: int
    state: str


class Parts:
    """The parts of the film `target`.

    After `begin`, `frames` is how many frames lie in whole segments, `state` what the stages remember after them, and
    `note` a sentence for the user, or "". Raises OptionError for a folder that is not ours, and OSError.
    """

    def __init__(self, target: Path) -> None:
        self.folder = folder_of(target)
        self.frames = 0
        self.state: State = {}
        self.note = ""
        self.has_begun = False
        self._name = printable(target)
        self._journal = self.folder / _JOURNAL
        self._segments = 0  # whole ones

    def begin(self, facts: Mapping[str, Any], *, anew: bool = False) -> None:
        """Go on with what an earlier run left, if its facts are these; otherwise, and with `anew`, throw it away."""
        refuse_foreign(self.folder)
        self.has_begun = True
        sweep(self.folder)
        facts = dict(facts)
        earlier = self.facts()
        whole = self._whole() if earlier == facts and not anew else None
        if whole is None or not whole.frames:
            had_frames = earlier is not None and next(read_segments(self._journal), None) is not None
            if had_frames and not anew:
                self.note = f"{self._name} starts over: {_reason(earlier or {}, facts)}"
            self.discard()
            self.folder.mkdir(parents=True, exist_ok=True)
            write_header(self._journal, facts)
            return
        self._segments, self.frames = whole.segments, whole.frames
        self.state = self._read_state(whole)
        cut(self._journal, whole.end)
        self._remove(whole.segments)
        self.note = f"{self._name} goes on at frame {self.frames}: the frames before it are there from an earlier run"

    def facts(self) -> dict[str, Any] | None:
        """What the journal says of its film; None if there is no journal."""
        try:
            return read_header(self._journal)
        except OSError:
            return None

    def stored(self) -> Iterator[Segment]:
        """The whole segments of an earlier run, in order. To be read before others are added, or beside them."""
        count = self._segments
        if count:
            for segment, _ in read_segments(self._journal):
                yield segment
                if segment.number + 1 == count:
                    return

    def path(self, number: int, suffix: str) -> Path:
        """The file of a segment."""
        return self.folder / f"{number:06d}{suffix}"

    def find(self, number: int) -> Path:
        """The file of a segment that is there. Raises FileNotFoundError."""
        with contextlib.suppress(StopIteration):
            return next(self.folder.glob(f"{number:06d}.*"))
        raise FileNotFoundError(2, os.strerror(2), str(self.path(number, "")))

    def add(self, segment: Segment, state: State | None) -> None:
        """Enter a segment whose file is there, with what the stages remember after it."""
        if state:
            path = self._state_path(segment.number)
            with atomic_path(path) as partial, partial.open("wb") as file:
                np.savez(file, **dict(state))  # type: ignore[arg-type]  # of its other keyword
            segment = Segment(
                number=segment.number, coded=segment.coded, delay=segment.delay, sha256=segment.sha256,
                state=hash_of(path),
            )  # fmt: skip
        append(self._journal, segment)
        self.frames += len(segment.coded)
        old = self._state_path(segment.number - _LARGE_STATES)
        with contextlib.suppress(OSError):
            if old.stat().st_size > _SMALL:
                old.unlink()

    def discard(self) -> None:
        """Remove everything of ours, and the folder unless something else is in it. Raises nothing."""
        if self.folder.is_symlink() or not self.folder.is_dir():
            return
        sweep(self.folder)
        with contextlib.suppress(OSError):
            if read_header(self._journal) is not None:
                self._remove(0)
                self._journal.unlink()
            self.folder.rmdir()

    def _whole(self) -> _Whole | None:
        """How far the parts are right. None if nothing is."""
        found: list[_Whole] = []
        frames, with_state = 0, False
        for segment, end in read_segments(self._journal):
            try:
                if hash_of(self.find(segment.number)) != segment.sha256:
                    break
            except OSError:
                break
            frames += len(segment.coded)
            with_state = with_state or bool(segment.state)
            found.append(_Whole(segment.number + 1, frames, end, segment.state))
        while found:
            whole = found.pop()
            if not with_state or self._has_state(whole):
                return whole
        return None

    def _has_state(self, whole: _Whole) -> bool:
        try:
            return hash_of(self._state_path(whole.segments - 1)) == whole.state
        except OSError:
            return False

    def _read_state(self, whole: _Whole) -> State:
        if not whole.state:
            return {}
        with np.load(self._state_path(whole.segments - 1), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _state_path(self, number: int) -> Path:
        return self.folder / f"state-{number:06d}.npz"

    def _remove(self, begin: int) -> None:
        """Remove the segments from number `begin` on."""
        for path in self.folder.iterdir():
            match = _OURS.fullmatch(path.name)
            if match is not None and int(match[1]) >= begin:
                path.unlink()


def folder_of(target: Path) -> Path:
    """Where the parts of a film lie. Links are followed, as they are for the film."""
    place = Path(os.path.realpath(target))
    return place.with_name(f".{short_name(place.name)}.starcast-parts")


def refuse_foreign(folder: Path) -> None:
    """Raise OptionError if something that is not ours has the name of the parts' folder."""
    if not os.path.lexists(folder):
        return
    try:
        if folder.is_symlink() or not folder.is_dir():
            raise OptionError(in_the_way(folder, "no folder", of="the video's parts"))
        # a kill may leave a folder without a journal, with an unfinished one in it
        names = [path.name for path in folder.iterdir() if not path.name.startswith((PARTIAL, LOCK))]
        if names and read_header(folder / _JOURNAL) is None:
            raise OptionError(in_the_way(folder, "not written by starcast", of="the video's parts"))
    except OSError as error:
        raise OptionError(
            f"{printable(folder)} cannot be used for the video's parts ({reason_of(error)}): move it away, or choose "
            "another -o"
        ) from error


def discard_parts(record: FilmRecord) -> None:
    """Remove the parts of a film that is there: of a run that was killed once the film was in place."""
    parts = Parts(record.target)
    facts = parts.facts()
    if facts is not None and record.identity.items() <= facts.items():
        parts.discard()


def versions() -> dict[str, str]:
    """The versions that decide over frames and their encoding."""
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"starcast": __version__, "av": av.__version__, "libavcodec": codec, "segments": "2"}


def hash_of(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(earlier: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Why what an earlier run left is of no use."""
    if dict(earlier) == dict(facts):
        return "what an interrupted run left is damaged"
    how = next((words for key, words in _REASONS.items() if earlier.get(key) != facts.get(key)), "by another version")
    return f"what an interrupted run left was made {how}"
