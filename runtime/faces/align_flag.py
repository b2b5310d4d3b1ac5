"""Open what finds faces for commands that translate, if --align is given; without it, load none of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from starcast.errors import printable
from starcast.runtime.bundle import Bundle
from starcast.runtime.options import FaceOptions

if TYPE_CHECKING:
    from starcast.runtime.faces.opening import FaceFiles
    from starcast.runtime.faces.sight import Sight

Image = NDArray[np.uint8]


@contextmanager
def open_faces(options: FaceOptions, bundle: Bundle) -> Iterator[FaceFiles | None]:
    """What finds faces for a bundle's model; None without --align. Raises what `open_face_files` raises."""
    if not options.align:
        yield None
        return
    from starcast.runtime.faces.opening import open_face_files  # takes OpenCV, which other translations do without

    with open_face_files(options.landmarks, options.mean, bundle) as files:
        yield files


def align_references(
    sight: Sight | None, size: int, progress: Callable[[str], None]
) -> Callable[[Image, Path], Image] | None:
    """A function that cuts the largest face out of a reference, `size` pixels a side; None without `sight`.

    A reference without a face stays as it is, and a line says so: a model of animals' faces may take it.
    """
    if sight is None:
        return None

    def align(image: Image, path: Path) -> Image:
        faces = sight.cut_out(image, size, every=False)
        if faces:
            return faces[0][0]
        progress(f"no face was found in the reference {printable(path)}: its style is that of the whole image")
        return image

    return align
