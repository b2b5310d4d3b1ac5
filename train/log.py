"""The losses of a run: a line of JSON for each logged step, and the same for TensorBoard if it is installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starcast.atomic import write_text

if TYPE_CHECKING:  # `starcast plot` reads losses without torch
    import torch
    from torch.utils.tensorboard import SummaryWriter

    from starcast.train.run_folder import RunFolder


class LossLog:
    """The open log of a run. Lines hold only step and losses, so that a resumed run writes the same bytes."""

    def __init__(self, lines: Any, writer: SummaryWriter | None) -> None:
        self._lines = lines
        self._writer = writer

    def losses(self, step: int, losses: Mapping[str, float]) -> None:
        """Write the losses of a step."""
        self._lines.write(json.dumps({"step": step, **losses}) + "\n")
        self._lines.flush()  # `starcast plot` reads during the run
        if self._writer is not None:
            for name, value in losses.items():
                self._writer.add_scalar(name, value, step)

    def grid(self, step: int, kind: str, pixels: torch.Tensor) -> None:
        """Show a sample grid, uint8 (3, H, W), in TensorBoard."""
        if self._writer is not None:
            self._writer.add_image(f"samples/{kind}", pixels, step)


@contextmanager
def open_log(run: RunFolder, start: int, progress: Callable[[str], None]) -> Iterator[LossLog]:
    """Open the log of a run that continues after `start` steps, and drop what an earlier process logged beyond them."""
    earlier = [line for line in read_logged_losses(run.losses) if line["step"] <= start] if start else []
    write_text(run.losses, "".join(json.dumps(line) + "\n" for line in earlier))
    writer = _summary_writer(run.tensorboard, start, progress)
    try:
        with run.losses.open("a", encoding="utf-8", newline="\n") as lines:
            yield LossLog(lines, writer)
    finally:
        if writer is not None:
            writer.close()


def read_logged_losses(path: Path) -> list[dict[str, float]]:
    """The lines of a losses.jsonl in order, without a half-written last one; none if the file is missing."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _summary_writer(folder: Path, start: int, progress: Callable[[str], None]) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        progress("TensorBoard is not installed, so losses go to losses.jsonl only (pip install 'starcast[train]')")
        return None
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)
