"""The mean face that faces are aligned to: the official project's celeba_lm_mean.npz, or another file like it."""

from __future__ import annotations

from pathlib import Path

from starcast.absence import absence_of
from starcast.errors import OptionError, printable, reason_of
from starcast.runtime.faces.points import LANDMARKS, FacePoints
from starcast.runtime.faces.similarity import MEAN_SIDE
from starcast.runtime.stored_arrays import load_arrays

SMALLEST_MEAN = 16.0  # pixels between eyes and mouth: a mean in parts of the square's side is another kind of file
GIVE_MEAN = (
    "give --mean the official celeba_lm_mean.npz, which `starcast download wing` fetches (from "
    "github.com/clovaai/stargan-v2), or leave it out"
)


def read_mean(path: Path) -> FacePoints:
    """The points of the mean face in a square of 256 pixels. The file's array `mean` is [98, 2]. Raises OptionError."""
    if not path.exists():
        raise OptionError(f"{printable(path)} {absence_of(path)}, or {GIVE_MEAN}")
    try:
        with path.open("rb") as file:
            is_page = file.read(512).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")
        landmarks = load_arrays(path, {"mean": (LANDMARKS, 2)})["mean"]
    except (OSError, ValueError) as error:
        reason = "it is a web page" if not isinstance(error, OSError) and is_page else reason_of(error)
        raise OptionError(f"{printable(path)} holds no mean landmarks ({reason}): {GIVE_MEAN}") from error
    mean = FacePoints.of_landmarks(landmarks)
    if not mean.is_face(SMALLEST_MEAN):
        raise OptionError(
            f"{printable(path)} holds no face in a square of {MEAN_SIDE} pixels (eyes and mouth nearly coincide): "
            f"{GIVE_MEAN}"
        )
    return mean
