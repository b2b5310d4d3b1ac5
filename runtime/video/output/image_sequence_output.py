"""Write numbered images, `frames/shot_%05d.png`: first a lossless film, and the images from that at the end.

The images are written aside and renamed one by one, the first one last: if it is there, all are.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from starcast.atomic import atomic_path
from starcast.errors import ImageError, OptionError, VideoError, printable, reason_of
from starcast.images.mark import read_mark
from starcast.images.write import write_image
from starcast.leftovers import new_partial_folder
from starcast.occupied import OVERWRITE, already
from starcast.runtime.encoding import EncodingOptions, image_at, is_sequence
from starcast.runtime.marks import parse_mark
from starcast.runtime.video.input.film import Film
from starcast.runtime.video.output.animated_output import FromFilm
from starcast.runtime.video.timing import as_fraction

_EVEN_MS = 1  # times are rounded to milliseconds


class SequenceOutput(FromFilm):
    """Writes images to `path`, a pattern; otherwise as `Sink`, whose `settings` it takes."""

    def __init__(
        self,
        path: Path,
        name: str,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        encoding: EncodingOptions,
        *,
        source: Film | None = None,
        mark: str | None = None,
        metadata: bool = True,
        **settings: Any,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._replaces = bool(getattr(encoding, "overwrite", False))
        self._keeps_alpha, self._mark = encoding.keeps_alpha, mark
        super().__init__(path, name, size, rate, time_base, encoding, source, **settings)

    def _convert(self) -> None:
        folder = new_partial_folder(self._path)
        count = 0
        try:
            for count, frame in enumerate(self._frames(), start=1):
                pixels: Any = frame.to_ndarray(format="rgba" if self._keeps_alpha else "rgb24")
                write_image(folder.path / image_at(self._path, count).name, pixels, mark=self._mark)
            for number in (*range(2, count + 1), *([1] if count else [])):
                target = image_at(self._path, number)
                if os.path.lexists(target) and not self._may_replace(target):
                    raise OptionError(already(target, "exists", OVERWRITE))
                (folder.path / target.name).replace(target)
        except (av.FFmpegError, OSError, ImageError) as error:
            reason = reason_of(error) if isinstance(error, OSError | av.FFmpegError) else str(error)
            raise VideoError(
                f"{self._name} cannot be written ({reason}): free some disk space, or choose another -o"
            ) from error
        finally:
            folder.remove()
        steps = [after - before for before, after in itertools.pairwise(self._times_ms())]
        if steps and max(steps) - min(steps) > _EVEN_MS:
            self.notes.append(
                f"{self._name} loses the times of its frames, which are {min(steps)} to {max(steps)} ms apart"
            )
        later = image_at(self._path, count + 1)
        if os.path.lexists(later):
            self.notes.append(f"{printable(later)} and what follows it are of an earlier, longer sequence, and stay")

    def _times_ms(self) -> list[int]:
        with av.open(str(self._film.path)) as film:
            packets = [packet for packet in film.demux(video=0) if packet.size]
            return sorted(round(1000 * (packet.pts or 0) * (as_fraction(packet.time_base) or 0)) for packet in packets)

    def _may_replace(self, image: Path) -> bool:
        """Whether an image is of an earlier run of this command, perhaps from the source as it was before an edit, or
        may be overwritten."""
        there, mark = parse_mark(read_mark(image)), parse_mark(self._mark)
        is_ours = (
            there is not None and mark is not None and there.settings == mark.settings
            and (there.content == mark.content or there.place == mark.place)
        )  # fmt: skip
        return image.is_file() and (self._replaces or is_ours)


@contextmanager
def output_path(target: Path) -> Iterator[Path]:
    """Where to write what becomes `target`: a file beside it, or, for a sequence, the pattern itself."""
    if is_sequence(target):
        yield target
    else:
        with atomic_path(target) as partial:
            yield partial
