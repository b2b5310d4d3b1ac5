"""Faces of a film: find them in each frame, turn them upright in squares for the model, and put them back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.faces.follow import Follower
from starcast.runtime.faces.put_back import put_back
from starcast.runtime.faces.sight import Face, Sight, rough_matrices
from starcast.runtime.faces.steady import Pose, Steadier, matrix_of, pose_of
from starcast.runtime.faces.warp import align
from starcast.runtime.stages import Batches, batched_among, slices
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.input.film import Film
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.memory import remember

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside

# makes the translations [N, H, W, 3] of such images, of frames at these times in ticks
Translate = Callable[[NDArray[np.uint8], Sequence[int]], NDArray[np.uint8]]

ALIGN, PUT_BACK = "align", "put back"  # stages of the report


@dataclass(frozen=True)
class FaceFrame:
    """A frame and the faces in it."""

    frame: RgbFrame
    faces: tuple[Face, ...]


class FilmFaces:
    """Finds the faces of a film, frame by frame; squares are `size` pixels a side.

    `steady`: frames wait for a few later ones, so that the squares do not jitter. `every`: all faces; otherwise the
    largest. `faceless`: frames so far in which none was found.
    """

    def __init__(
        self, sight: Sight, size: int, rate: Fraction, time_base: Fraction, *, steady: bool, every: bool
    ) -> None:
        self._sight, self._size, self._time_base, self._every = sight, size, time_base, every
        self._follower = Follower(every=every)
        self._steadier: Steadier[RgbFrame] | None = Steadier(rate) if steady else None
        self._found: deque[dict[int, Pose]] = deque()  # in the next frames, by an earlier run
        self.faceless = 0

    def add(self, frame: RgbFrame) -> Iterator[FaceFrame]:
        """Add the next frame; gives those that are ready, in order."""
        time = float(frame.pts * self._time_base)
        poses = self._found.popleft() if self._found else self._find(frame, time)
        if self._steadier is None:
            yield self._cut_out(frame, poses)
            return
        for ready, steadied in self._steadier.add(frame, time, poses):
            yield self._cut_out(ready, steadied)

    def state(self) -> dict[str, NDArray[Any]]:
        steadier = {} if self._steadier is None else self._steadier.state()
        return {**self._follower.state(), **steadier, "faceless": np.array([self.faceless])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._follower.restore(state)
        self.faceless = int(state["faceless"][0])
        if self._steadier is not None:
            self._found.extend(poses for _, poses in self._steadier.restore(state))

    def finish(self) -> Iterator[FaceFrame]:
        """The last frames."""
        for ready, steadied in self._steadier.finish() if self._steadier is not None else ():
            yield self._cut_out(ready, steadied)

    def _find(self, frame: RgbFrame, time: float) -> dict[int, Pose]:
        rough = self._sight.find(frame.pixels, every=self._every)
        squares = [pose_of(matrix, self._size) for matrix in rough_matrices(rough, self._size)]
        chosen = self._follower.tell_apart(time, squares)
        return {
            number: pose_of(self._sight.matrix(frame.pixels, rough[squares.index(square)], self._size), self._size)
            for number, square in chosen.items()
        }

    def _cut_out(self, frame: RgbFrame, poses: dict[int, Pose]) -> FaceFrame:
        # of several, the one that was followed first, also in frames where it was missing
        numbers = sorted(poses) if self._every else sorted(poses)[:1]
        matrices = [matrix_of(poses[number], self._size) for number in numbers]
        self.faceless += not matrices
        squares = tuple((align(frame.pixels, matrix, self._size), matrix) for matrix in matrices)
        return FaceFrame(remember(frame, "faces", self), squares)


def find_faces(
    items: Iterable[RgbFrame | Beside], faces: FilmFaces, report: FilmReport
) -> Iterator[FaceFrame | Beside]:
    """Frames with the faces that were found in them. Packets may overtake them, because the muxer sorts."""

    def counted(found: Iterable[FaceFrame]) -> Iterator[FaceFrame]:
        for one in report.timed_items(ALIGN, found):
            report.faceless = faces.faceless
            yield one

    for item in items:
        if isinstance(item, RgbFrame):
            yield from counted(faces.add(item))
        else:
            yield item
    yield from counted(faces.finish())


def translate_faces(
    items: Iterable[FaceFrame | Beside], translate: Translate, batch: int, report: FilmReport
) -> Iterator[FaceFrame | Beside]:
    """The same frames with translated squares, in order."""

    def run(frames: Sequence[FaceFrame]) -> Iterable[FaceFrame]:
        squares = [square for one in frames for square, _ in one.faces]
        times = [one.frame.pts for one in frames for _ in one.faces]
        with report.timed("run", len(frames)):
            translations = iter([
                translation
                for part in slices(len(squares), batch)  # a frame may have many faces
                for translation in translate(np.stack(squares[part]), times[part])
            ])  # fmt: skip
        for one in frames:
            yield FaceFrame(one.frame, tuple((next(translations), matrix) for _, matrix in one.faces))

    return batched_among(items, FaceFrame, Batches(batch, run, last=lambda one: one.frame.ends_segment))


def put_faces_back(items: Iterable[FaceFrame | Beside], report: FilmReport) -> Iterator[RgbFrame | Beside]:
    """Frames with the translated faces in them. One without a face stays as it is."""
    for item in items:
        if not isinstance(item, FaceFrame):
            yield item
            continue
        frame = item.frame
        if item.faces:
            with report.timed(PUT_BACK):
                frame = replace(frame, pixels=put_back(frame.pixels, item.faces))
        yield frame


def tell_faceless(
    source: Film, report: FilmReport, then: str, without_any: str, progress: Callable[[str], None]
) -> list[str]:
    """Report in how many frames no face was found; `then` says what became of them. For a film without any face, return
    a sentence for its failures instead; `without_any` says what became of its frames."""
    if not report.faceless:
        return []
    if report.faceless == report.frames:
        return [f"no face was found in {source.name}: {without_any}"]
    report.notes.append(f"no face was found in {report.faceless} of {report.frames} frames: {then}")
    progress(report.notes[-1])
    return []
