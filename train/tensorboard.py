"""One start's losses and sample grids as a file of events for TensorBoard.

Not torch's SummaryWriter: it writes in a thread of its own, which prints a traceback when the disk is full, and cannot
write into a folder whose name is not UTF-8.
"""

from __future__ import annotations

import io
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from starcast.train.appended import AppendedFile


class EventFile:
    """An open event file of a run that continues after `start` steps.

    Its first event tells TensorBoard to forget what earlier starts logged beyond them. Methods raise an OSError that
    names the file.
    """

    def __init__(self, folder: Path, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names
        name = f"events.out.tfevents.{time.time_ns():019d}.{platform.node() or 'host'}.{os.getpid()}"
        self._file = AppendedFile(folder / name, "xb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=shown)))

    def image(self, step: int, name: str, pixels: torch.Tensor) -> None:
        """Write an image, uint8 (3, H, W)."""
        encoded = io.BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(encoded, format="PNG")
        _, height, width = pixels.shape
        stored = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded.getvalue())
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, image=stored)])))

    def close(self) -> None:
        """Close the file. Everything is written by then."""
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
