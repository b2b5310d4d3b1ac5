"""What an interrupted evaluation has measured: a hidden folder beside the report, removed when the report is finished.

    .starcast-evaluate-report.json/plan.json            what is evaluated; work of another plan is discarded
                                   model/TASK/3.npz     what batch 3 of a task measured
                                   model/TASK/task.npz  a finished task: its figures and examples; its batches are gone

Every file is written aside and renamed, so what is there is whole. A batch takes up to a few megabytes, and figures are
made of the batches in their order: an evaluation that was killed and resumed gives the same report, bit for bit.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from starcast.atomic import write_bytes, write_text
from starcast.errors import OptionError, printable
from starcast.hold import short_name
from starcast.leftovers import LOCK, PARTIAL, discard

PLAN = "plan.json"

Record = TypeVar("Record", "BatchRecord", "TaskRecord")


@dataclass(frozen=True, kw_only=True)
class BatchRecord:
    """What was measured of a batch's O outputs for each of N sources; rows are outputs, the first of each source first.

    `lpips` (N, pairs); `official`, `clean` and `usual` features (O * N, width), the latter two perhaps empty;
    `classes` (O * N,) places of domains, or empty;
    `distances` (O * N,) to the nearest real image, `nearest` (O * N,) its place. `shown` are the rows of the best and
    worst outputs, `shown_outputs` uint8 (len(shown), h, w, 3) the outputs themselves, small.
    """

    lpips: NDArray[np.float64]
    official: NDArray[np.float32]
    clean: NDArray[np.float32]
    usual: NDArray[np.float32]
    classes: NDArray[np.int64]
    distances: NDArray[np.float64]
    nearest: NDArray[np.int64]
    shown: NDArray[np.int64]
    shown_outputs: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """A finished task: its figures by measure, NaN for one that cannot be taken, and its examples, the best ones first.

    `sources`, `references` (-1: none) and `nearest` are places of images; `outputs` uint8 (K, h, w, 3), small.
    `left_out` has a sentence for each of the target's real images that cannot be read.
    """

    measures: NDArray[np.str_]
    figures: NDArray[np.float64]
    sources: NDArray[np.int64]
    references: NDArray[np.int64]
    nearest: NDArray[np.int64]
    distances: NDArray[np.float64]
    outputs: NDArray[np.uint8]
    left_out: NDArray[np.str_]

    def as_dict(self) -> dict[str, float]:
        return {str(name): float(value) for name, value in zip(self.measures, self.figures, strict=True)}


class Work:
    """The folder of an evaluation's work. Use it only while holding the report."""

    def __init__(self, report: Path) -> None:
        self.folder = report.with_name(f".starcast-evaluate-{short_name(report.name)}")

    def begin(self, plan: dict[str, Any]) -> str:
        """Make the folder ready for a plan: `new`, `resumed`, or `replaced` if it held the work of another plan.

        Raises OptionError if the folder is there and holds anything that no evaluation wrote.
        """
        text = json.dumps(plan, sort_keys=True, indent=1) + "\n"
        state = "new"
        if self.folder.exists():
            before = self._plan()
            if before == text:
                return "resumed"
            if before is None and any(not path.name.startswith((LOCK, PARTIAL)) for path in self.folder.iterdir()):
                raise OptionError(
                    f"{printable(self.folder)} holds files that no evaluation wrote: move it away, or choose another -o"
                )
            state = "new" if before is None else "replaced"
            discard(self.folder)
        self.folder.mkdir(parents=True)
        write_text(self.folder / PLAN, text)
        return state

    def end(self) -> None:
        """Remove the folder. Raises OSError."""
        discard(self.folder)

    def read_batch(self, task: str, number: int) -> BatchRecord | None:
        """What an earlier run measured of a batch; None if it did not."""
        return _read(self._file(task, str(number)), BatchRecord)

    def write_batch(self, task: str, number: int, record: BatchRecord) -> None:
        """Store what was measured of a batch. Raises OSError."""
        write_bytes(self._file(task, str(number)), _pack(record))

    def read_task(self, task: str) -> TaskRecord | None:
        """A finished task; None if it is not finished."""
        return _read(self._file(task, "task"), TaskRecord)

    def write_task(self, task: str, record: TaskRecord) -> None:
        """Store a finished task, and remove its batches. Raises OSError."""
        file = self._file(task, "task")
        write_bytes(file, _pack(record))
        for other in file.parent.iterdir():
            if other != file and other.suffix in (".npz", ".npy"):
                other.unlink()

    def scratch(self, task: str) -> Path:
        """A folder for what is computed again after an interruption."""
        folder = self._file(task, "scratch").parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def forget(self, task: str) -> None:
        """Remove the scratch folder of a task and all that is in it."""
        shutil.rmtree(self.scratch(task), ignore_errors=True)

    def _file(self, task: str, name: str) -> Path:
        return self.folder / task / f"{name}.npz"

    def _plan(self) -> str | None:
        try:
            return (self.folder / PLAN).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None


def _pack(record: BatchRecord | TaskRecord) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: getattr(record, field.name) for field in dataclasses.fields(record)})
    return buffer.getvalue()


def _read(file: Path, kind: type[Record]) -> Record | None:
    """A record; None if the file is missing or holds something else."""
    try:
        with np.load(file) as arrays:
            return kind(**{field.name: arrays[field.name] for field in dataclasses.fields(kind)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
