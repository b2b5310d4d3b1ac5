"""The batches of a run's steps, in order, drawn here or by processes that work ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from starcast.errors import DatasetError
from starcast.train.data.batch import TensorBatch
from starcast.train.data.batches import Drawn, StepBatches
from starcast.train.data.workers import work_ahead

MOST_WORKERS = 8  # by default, however many cores there are: one GPU cannot use more


def worker_count(wanted: int | None, device: torch.device) -> int:
    """The number of processes that decode images: `wanted`, by default 2, or most of the cores with a GPU."""
    if wanted is not None:
        return wanted
    return 2 if device.type == "cpu" else max(2, min(MOST_WORKERS, (os.cpu_count() or 1) - 2))


@contextmanager
def load_batches(
    dataset: StepBatches,
    steps: range,
    *,
    workers: int,
    pin: bool,
    progress: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Iterator[TensorBatch]]:
    """The batch of each step, in order, prepared ahead by `workers` processes. They start now, and end with the block.

    `progress` gets a line about each unreadable file, once, and one if fewer processes than wanted can be started. The
    iterator ends early once `stopped()`, even while it waits for a process. It raises DatasetError if a domain has no
    readable image, and TrainingError if images cannot be decoded here; the next try would start at the same step.
    """
    with work_ahead(dataset, steps, workers=workers, pin=pin, progress=progress, stopped=stopped) as drawn:
        yield _check_drawn(drawn if drawn is not None else _draw_here(dataset, steps, pin), progress)


def _draw_here(dataset: StepBatches, steps: range, pin: bool) -> Iterator[Drawn]:
    for step in steps:
        drawn = dataset[step]
        yield drawn.pin_memory() if pin else drawn


def _check_drawn(all_drawn: Iterator[Drawn], progress: Callable[[str], None]) -> Iterator[TensorBatch]:
    shown: set[str] = set()
    for drawn in all_drawn:
        for sentence in drawn.unreadable:
            if sentence not in shown:
                shown.add(sentence)
                progress(f"{sentence} (another image of its domain is used)")
        if drawn.batch is None:
            raise drawn.failure or DatasetError("there is no batch")
        yield drawn.batch
