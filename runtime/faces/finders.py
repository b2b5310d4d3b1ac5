"""Where a face's points come from: whoever finds faces gives a `FindFace`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from starcast.runtime.faces.points import FacePoints

# an image uint8 [H, W, 3] in RGB -> the points of its face, in its pixels; None if there is none
FindFace = Callable[[NDArray[np.uint8]], FacePoints | None]
