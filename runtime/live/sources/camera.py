"""A camera of this machine, through OpenCV."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np

from starcast.runtime.live.again import Again
from starcast.runtime.live.captured import Captured, Image


class CameraSource:
    """Frames of camera `number`. `size` (width, height) and `fps` are asked for; what the camera gives is said. If it
    vanishes, that is said, and it is opened again when it is back. `opened` opens a camera: cv2.VideoCapture."""

    def __init__(
        self,
        number: int,
        say: Callable[[str], None],
        stop: threading.Event,
        *,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        opened: Callable[[int], Any] = cv2.VideoCapture,
    ) -> None:
        self.name = f"camera {number}"
        self._number = number
        self._say = say
        self._stop = stop
        self._size = size
        self._fps = fps
        self._opened = opened
        self._again = Again(self.name, say, stop)

    def frames(self) -> Iterator[Captured]:
        """Frames as the camera gives them. Raises VideoError if it was never there."""
        number = 0
        while not self._stop.is_set():
            camera = self._opened(self._number)
            try:
                self._ask(camera)
                while not self._stop.is_set():
                    works, pixels = camera.read()
                    at = time.monotonic()
                    if not works or pixels is None:
                        break
                    if not number:
                        self._tell(camera, pixels)
                    self._again.works()
                    yield Captured(number, at, partial(_rgb, pixels))
                    number += 1
            finally:
                camera.release()
            if not self._stop.is_set():
                self._again.wait("it gives no images")

    def _ask(self, camera: Any) -> None:
        # raw frames of more than 640x480 exceed what USB 2 carries at 30 fps, and MJPG does not
        camera.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # older frames are of no use
        if self._size is not None:
            camera.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            camera.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        if self._fps is not None:
            camera.set(cv2.CAP_PROP_FPS, self._fps)

    def _tell(self, camera: Any, pixels: Image) -> None:
        height, width = pixels.shape[:2]
        fps = camera.get(cv2.CAP_PROP_FPS)
        self._say(f"{self.name}: {width}x{height}" + (f" at {fps:g} fps" if fps > 0 else ""))


def _rgb(pixels: Image) -> Image:
    return np.ascontiguousarray(pixels[..., ::-1])
