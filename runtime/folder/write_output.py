"""Write an output in a writer thread, and recognise errors that every later output would meet."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starcast.errors import ImageError, printable
from starcast.images.write import write_image
from starcast.occupied import already

WRITERS = 2  # threads
_DISK_IS_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Written(msgspec.Struct, frozen=True):
    """The result of writing an output: the metadata that was lost, and the seconds it took."""

    lost: tuple[str, ...]
    seconds: float


def write_output(
    path: Path, image: NDArray[np.uint8] | Image.Image, *, is_free: bool, **settings: Any
) -> Written | ImageError:
    """Write an image with `settings` for `write_image`, and return the result, or the error. `is_free`: nothing was
    at its path, so a file that has appeared there since is not replaced."""
    start = time.perf_counter()
    if is_free and os.path.lexists(path):
        return ImageError(already(path, "exists, written by another program in the meantime"))
    try:
        lost = write_image(path, image, **settings)
    except ImageError as error:
        return error
    return Written(lost, time.perf_counter() - start)


def tell_lost(lost: Mapping[str, Sequence[Path]], done: str, progress: Callable[[str], None]) -> None:
    """Say in a line for each kind what of the sources' metadata their outputs lack. `lost`: by clause, the sources;
    `done`: what was done to them, such as "translated"."""
    for clause, sources in lost.items():
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        progress(f"{printable(sources[0])}{more}: {done} without {clause}")


def stop_if_unwritable(error: ImageError) -> None:
    """Raise an error that every later output would meet, such as a full disk."""
    if getattr(error.__cause__, "errno", None) in _DISK_IS_UNWRITABLE:
        raise error
