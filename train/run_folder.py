"""A run's folder: its layout and its record.

RUN/run.json                                 options, versions, data set, when and how it started and resumed
RUN/losses.jsonl                             one line per logged step
RUN/tensorboard/                             the same for TensorBoard, and the sample grids
RUN/samples/step-000500-reference.jpg        and -latent.jpg
RUN/checkpoints/step-000500.pt               full: a run resumes from it; the newest few are kept
RUN/checkpoints/step-000500.snapshot.pt      averaged networks only: all are kept
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from starcast import __version__
from starcast.atomic import write_bytes
from starcast.errors import OptionError, printable
from starcast.leftovers import PARTIAL, sweep
from starcast.occupied import already, in_the_way
from starcast.options import as_json
from starcast.train.data.folders import DataSet
from starcast.train.log import is_loss_log, read_logged_losses
from starcast.train.options import TrainOptions

FORMAT = 1  # of run.json; 1: the first
RECORD_BYTES = 64 * 2**20  # thousands of starts; a larger file is no record

_SAMPLE = re.compile(r"step-\d+-.*\.jpg")
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
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders in it."""
        return self.checkpoints, self.samples, self.tensorboard

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
        return self.samples / f"step-{step:06d}-{kind}.jpg"

    def full_checkpoints(self, up_to: int | None = None) -> list[Path]:
        """The full checkpoints in the folder, newest first; with `up_to`, none after that step."""
        by_step = {int(match[1]): path for path in self._files() if (match := _FULL.fullmatch(path.name))}
        return [by_step[step] for step in sorted(by_step, reverse=True) if up_to is None or step <= up_to]

    def newest(self) -> Path | None:
        """The checkpoint or snapshot of the latest step; the full one if there are both."""
        return newest_of(self._files())

    def every_step(self) -> list[Path]:
        """One file for each step that has a checkpoint or snapshot, oldest first."""
        return every_step_of(self._files())

    def newest_step(self) -> int:
        """The latest step of a checkpoint or snapshot; 0 if there is none."""
        newest = self.newest()
        match = _ANY.fullmatch(newest.name) if newest is not None else None
        return int(match[1]) if match else 0

    def has_run(self) -> bool:
        """True if there is a checkpoint or snapshot, which a new run would mix with its own."""
        return self.newest() is not None

    def _files(self) -> list[Path]:
        return _files_in(self.checkpoints)


def newest_of(files: Iterable[Path]) -> Path | None:
    """The checkpoint or snapshot of the latest step among these files; the full one if there are both."""
    ranked = {(int(match[1]), not match[2]): path for path in files if (match := _ANY.fullmatch(path.name))}
    return ranked[max(ranked)] if ranked else None


def every_step_of(files: Iterable[Path]) -> list[Path]:
    """Among these files one checkpoint for each step, oldest first: the snapshot, which is smaller, if there are both.

    Their averaged networks are equal.
    """
    steps: dict[int, Path] = {}
    for path in sorted(files):  # step-000500.pt comes before step-000500.snapshot.pt
        if match := _ANY.fullmatch(path.name):
            steps[int(match[1])] = path
    return [steps[step] for step in sorted(steps)]


def _files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def refuse_to_mix(run: RunFolder) -> None:
    """Raise OptionError if a new run would be mixed with an old one, or would replace its record."""
    if run.has_run():
        raise OptionError(already(run.path, "holds a run", "continue it with --resume"))
    if had_checkpoints(run):
        raise OptionError(already(run.path, "holds the record of a run whose checkpoints were moved away"))


def refuse_among_images(run: RunFolder, data: Path, *, domains: bool = True) -> None:
    """Raise OptionError if a new run would lie where the domains lie: its folders would be read as domains.

    Without domains it may lie nowhere below the data: its sample grids would be read as images.
    """
    place, images = (Path(os.path.realpath(path)) for path in (run.path, data))
    if not domains and images in (place, *place.parents):
        raise OptionError(
            f"{printable(run.path)} lies in the data set, where its sample grids would be read as images: choose "
            "another -o"
        )
    if images in (place, place.parent):
        raise OptionError(
            f"{printable(run.path)} lies in the data set, where each folder is a domain: "
            "choose another -o, or name the domains with --domains"
        )


def had_checkpoints(run: RunFolder) -> bool:
    """Whether a run has come so far that it must have had full checkpoints, wherever they are now."""
    starts = read_starts(run)
    if not starts:
        return False
    every = starts[-1]["options"].get("save_every", 0)
    logged = max((line["step"] for line in read_logged_losses(run.losses)), default=0)
    return starts[-1].get("step") != 0 or max(logged, run.newest_step()) > every


def refuse_foreign(run: RunFolder) -> None:
    """Raise OptionError if something that a run did not write stands where this one would write.

    Call it before the work: other programs write `run.json` and `losses.jsonl`, too.
    """
    if os.path.lexists(run.path) and not run.path.is_dir():
        raise OptionError(f"{printable(run.path)} is {_kind_of(run.path)}: give a folder for the run")
    if (run.path / "manifest.json").is_file():  # an export into it would then be refused
        raise OptionError(f"{printable(run.path)} is a bundle: give another folder for the run")
    for folder in run.folders:
        if os.path.lexists(folder) and not folder.is_dir():
            raise OptionError(in_the_way(folder, _kind_of(folder)))
    for file in (run.record, run.losses):
        if os.path.lexists(file) and (file.is_symlink() or not file.is_file()):
            raise OptionError(in_the_way(file, _kind_of(file)))
    recorded = bool(_read_record(run.record))
    if not recorded and run.record.exists() and run.record.stat().st_size:  # one that a power cut emptied is no loss
        raise OptionError(in_the_way(run.record, "a file that no run wrote"))
    is_run = recorded or run.has_run()
    if run.losses.exists() and run.losses.stat().st_size and not (is_run and is_loss_log(run.losses)):
        raise OptionError(in_the_way(run.losses, "a file that no run wrote"))
    sample = None if is_run else next((path for path in _files_in(run.samples) if _SAMPLE.fullmatch(path.name)), None)
    if sample is not None:
        raise OptionError(in_the_way(sample, "a file of another run, or of another program"))


def _kind_of(path: Path) -> str:
    if path.is_symlink():
        return "a link" if path.exists() else "a link that leads nowhere"
    if path.is_dir():
        return "a folder"
    return "a file" if path.is_file() else "a pipe, a socket or a device"


def prepare_folder(run: RunFolder, keep: int, done: int) -> None:
    """Make the folders that every run needs, try to write in them, and remove what a killed process left behind.

    The caller holds the run's folder. Raises OSError now rather than after hours.
    """
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    for folder in (run.path, run.checkpoints):
        with tempfile.TemporaryFile(dir=folder, prefix=PARTIAL):
            pass
    for folder in (run.path, run.checkpoints, run.samples):
        sweep(folder)
    discard_old(run, keep, done)


def discard_old(run: RunFolder, keep: int, done: int) -> None:
    """Delete all but the `keep` newest full checkpoints up to step `done`.

    Later checkpoints do not count: they could not be read when the run resumed, and must not displace readable ones.
    """
    for path in run.full_checkpoints(up_to=done)[keep:]:
        with contextlib.suppress(OSError):  # somebody reads it on Windows: the next save tries again
            path.unlink()


def record_start(
    run: RunFolder, options: TrainOptions, data_set: DataSet, step: int, machine: str, parent: Mapping[str, Any] | None
) -> None:
    """Write run.json, or add this start to it. The run continues from `step`; `machine` describes what computes.

    `parent` is the record of the checkpoint that the run started from.
    """
    start = {
        "step": step,
        "family": options.family,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "machine": machine,
        "options": as_json(options),
        **({} if parent is None else {"from": parent}),
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
    earlier = read_starts(run) if step else []
    record = {"format": FORMAT, "data_set": data_set.summary(), "starts": [*earlier, start]}
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_bytes(run.record, text.encode(errors="backslashreplace"))  # \udce9 stands for a byte that is not UTF-8


def read_starts(run: RunFolder) -> list[dict[str, Any]]:
    """The starts in run.json, oldest first; none if there is no such file, or it is not a run's."""
    return list(_read_record(run.record).get("starts", []))


def read_data_set(run: RunFolder) -> dict[str, Any] | None:
    """The data set's summary in run.json; None if there is none."""
    return _read_record(run.record).get("data_set")


def _is_start(start: object) -> bool:
    """Whether an entry of a run.json has the types that a start has."""
    return (
        isinstance(start, dict) and isinstance(options := start.get("options"), dict)
        and isinstance(start.get("step", 0), int) and isinstance(start.get("family", ""), str)
        and isinstance(options.get("save_every", 0), int) and isinstance(start.get("from", {}), dict)
    )  # fmt: skip


def _read_record(path: Path) -> dict[str, Any]:
    """What a run wrote into its run.json; empty if there is no such file, or it is not a run's."""
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size <= RECORD_BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or not isinstance(content.get("data_set"), dict):
        return {}
    starts, domains = content.get("starts"), content["data_set"].get("domains")
    whole = (
        isinstance(starts, list) and starts and all(map(_is_start, starts))
        and isinstance(domains, list) and all(isinstance(name, str) for name in domains)
    )  # fmt: skip
    return content if whole else {}
