"""The losses of a run: a line of JSON for each logged step, and the same for TensorBoard and Weights & Biases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from starcast.atomic import write_text
from starcast.options import as_json
from starcast.train.appended import AppendedFile

if TYPE_CHECKING:  # `starcast plot` reads losses without torch
    import torch

    from starcast.train.options import TrainOptions
    from starcast.train.run_folder import RunFolder

LOOK_BYTES = 2**20  # of a file's start, to tell a log from another program's file


class Sink(Protocol):
    """Where losses and grids go besides losses.jsonl."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def image(self, step: int, name: str, pixels: torch.Tensor) -> None: ...

    def close(self) -> None: ...


class LossLog:
    """The open log of a run. Lines hold only step and losses, so that a resumed run writes the same bytes."""

    def __init__(self, lines: AppendedFile, sinks: Sequence[Sink]) -> None:
        self._lines = lines
        self._sinks = sinks

    def losses(self, step: int, losses: Mapping[str, float]) -> None:
        """Write the losses of a step. Raises an OSError that names the file."""
        self._lines.write((json.dumps({"step": step, **losses}) + "\n").encode())  # `starcast plot` reads meanwhile
        for sink in self._sinks:
            sink.scalars(step, losses)

    def grid(self, step: int, kind: str, pixels: torch.Tensor) -> None:
        """Show a sample grid, uint8 (3, H, W), where losses are shown. Raises an OSError that names the file."""
        for sink in self._sinks:
            sink.image(step, f"samples/{kind}", pixels)


@contextmanager
def open_log(
    run: RunFolder, start: int, progress: Callable[[str], None], options: TrainOptions | None = None
) -> Iterator[LossLog]:
    """Open the log of a run that continues after `start` steps, and drop what an earlier process logged beyond them.

    Weights & Biases gets the run's `options`, if they name a project.
    """
    earlier = [line for line in read_logged_losses(run.losses) if line["step"] <= start] if start else []
    write_text(run.losses, "".join(json.dumps(line) + "\n" for line in earlier))
    with ExitStack() as stack:
        sinks: list[Sink] = []
        for opened in (_open_events(run.tensorboard, start, progress), _open_wandb(run, options, progress)):
            if opened is not None:
                sinks.append(opened)
                stack.callback(opened.close)
        yield LossLog(stack.enter_context(closing(AppendedFile(run.losses, "ab"))), sinks)


def read_logged_losses(path: Path) -> list[dict[str, float]]:
    """The lines of a losses.jsonl in order, without a half-written last one; none if the file is missing."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        line = _parse(text)
        if line is not None:
            lines.append(line)
    return lines


def is_loss_log(path: Path) -> bool:
    """Whether a losses.jsonl looks like a run's: its first line is a step's."""
    try:
        with path.open("rb") as file:
            start = file.read(LOOK_BYTES)
    except OSError:
        return False
    first, ended, _ = start.partition(b"\n")
    return not ended or _parse(first.decode(errors="replace")) is not None  # a first line may be half-written


def _parse(text: str) -> dict[str, float] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def _open_events(folder: Path, start: int, progress: Callable[[str], None]) -> Sink | None:
    try:
        import tensorboard  # noqa: F401

        from starcast.train.tensorboard import EventFile
    except ModuleNotFoundError:
        progress("TensorBoard is not installed, so losses go to losses.jsonl only (pip install 'starcast[train]')")
        return None
    return EventFile(folder, start)


def _open_wandb(run: RunFolder, options: TrainOptions | None, progress: Callable[[str], None]) -> Sink | None:
    if options is None or not options.output.wandb:
        return None
    try:
        from starcast.train.wandb_run import WandbRun
    except ModuleNotFoundError:
        progress("Weights & Biases is not installed, so nothing is logged to it (pip install 'starcast[wandb]')")
        return None
    return WandbRun(run.path, options.output.wandb, as_json(options), progress)
