"""A run's folder: its layout and its record.

RUN/run.json                                 options, versions, data set, when and how it started and resumed
RUN/losses.jsonl                             one line per logged step
RUN/tensorboard/                             the same for TensorBoard, and the sample grids
RUN/samples/step-000500-reference.jpg        and -latent.jpg
RUN/checkpoints/step-000500.pt               full: a run resumes from it; the newest few are kept
RUN/checkpoints/step-000500.snapshot.pt      averaged networks only: all are kept
"""

from __future__ import annotations

import json
import platform
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from starcast import __version__
from starcast.atomic import PARTIAL, write_text
from starcast.errors import OptionError
from starcast.options import as_json
from starcast.train.data.folders import DataSet
from starcast.train.options import TrainOptions

_FULL = re.compile(r"step-(\d+)\.pt")
_ANY = re.compile(r"step-(\d+)(\.snapshot)?\.pt")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def record(self) -> Path:
        return self.path / "run.json"

    @property
    def losses(self) -> Path:
        return self.path / "losses.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The full checkpoint of a step."""
        return self.checkpoints / f"step-{step:06d}.pt"

    def snapshot(self, step: int) -> Path:
        """The averaged networks of a step."""
        return self.checkpoints / f"step-{step:06d}.snapshot.pt"

    def sample(self, step: int, kind: str) -> Path:
        """The sample grid of one kind at a step."""
        return self.path / "samples" / f"step-{step:06d}-{kind}.jpg"

    def full_checkpoints(self, up_to: int | None = None) -> list[Path]:
        """The full checkpoints in the folder, newest first; with `up_to`, none after that step."""
        by_step = {int(match[1]): path for path in self._files() if (match := _FULL.fullmatch(path.name))}
        return [by_step[step] for step in sorted(by_step, reverse=True) if up_to is None or step <= up_to]

    def newest(self) -> Path | None:
        """The checkpoint or snapshot of the latest step; the full one if there are both."""
        ranked = {(int(match[1]), not match[2]): path for path in self._files() if (match := _ANY.fullmatch(path.name))}
        return ranked[max(ranked)] if ranked else None

    def has_run(self) -> bool:
        """True if there is a checkpoint or snapshot, which a new run would mix with its own."""
        return any(_ANY.fullmatch(path.name) for path in self._files())

    def _files(self) -> list[Path]:
        return list(self.checkpoints.iterdir()) if self.checkpoints.is_dir() else []


def refuse_to_mix(run: RunFolder) -> None:
    """Raise OptionError if a new run would be mixed with an old one."""
    if run.path.exists() and not run.path.is_dir():
        raise OptionError(f"{run.path} is a file: give a folder for the run")
    if run.has_run():
        raise OptionError(f"{run.path} already holds a run: continue it with --resume, or choose another -o")


def discard_old(run: RunFolder, keep: int, done: int) -> None:
    """Delete all but the `keep` newest full checkpoints up to step `done`, and partial files of killed processes.

    Later checkpoints do not count: they could not be read when the run resumed, and must not displace readable ones.
    """
    for path in run.full_checkpoints(up_to=done)[keep:]:
        path.unlink(missing_ok=True)
    for path in run.checkpoints.glob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def record_start(run: RunFolder, options: TrainOptions, data_set: DataSet, step: int, machine: str) -> None:
    """Write run.json, or add this start to it. The run continues from `step`; `machine` describes what computes."""
    start = {
        "step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "machine": machine,
        "options": as_json(options),
        "versions": {
            "starcast": __version__,
            "torch": version("torch"),
            "cuda": torch.version.cuda,
            "torchvision": version("torchvision"),
            "numpy": version("numpy"),
            "pillow": version("pillow"),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
    }
    earlier = _earlier_starts(run) if step else []
    record = {"format": 1, "data_set": data_set.summary(), "starts": [*earlier, start]}
    write_text(run.record, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _earlier_starts(run: RunFolder) -> list[Any]:
    """The starts in run.json; none if it is damaged, because a file meant for people must not stop a resume."""
    try:
        return list(json.loads(run.record.read_text(encoding="utf-8"))["starts"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
