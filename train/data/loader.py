"""Prepare batches ahead in worker processes: start them, watch them, and end them with the run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator

import torch
from torch.utils.data import DataLoader

from starcast.errors import DatasetError, TrainingError
from starcast.train.data.batch import TensorBatch
from starcast.train.data.batches import Drawn, StepBatches

MOST_WORKERS = 8  # by default, however many cores there are: one GPU cannot use more


def worker_count(wanted: int | None, device: torch.device) -> int:
    """The number of processes that decode images: `wanted`, by default 2, or most of the cores with a GPU."""
    if wanted is not None:
        return wanted
    return 2 if device.type == "cpu" else max(2, min(MOST_WORKERS, (os.cpu_count() or 1) - 2))


def load_batches(
    dataset: StepBatches, steps: range, *, workers: int, pin: bool, progress: Callable[[str], None]
) -> Generator[TensorBatch, None, None]:
    """The batch of each step, in order, prepared ahead by `workers` processes. They start now, and end when the
    generator is closed.

    `progress` gets a line about each unreadable file, once. Raises DatasetError if a domain has no readable image, and
    TrainingError if a worker process is killed.
    """
    loader: DataLoader[Drawn] = DataLoader(
        dataset, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_run if workers else None,
    )  # fmt: skip
    return _check_drawn(iter(loader), progress)


def _check_drawn(all_drawn: Iterator[Drawn], progress: Callable[[str], None]) -> Generator[TensorBatch, None, None]:
    shown: set[str] = set()
    try:
        for drawn in all_drawn:
            for sentence in drawn.unreadable:
                if sentence not in shown:
                    shown.add(sentence)
                    progress(f"{sentence} (another image of its domain is used)")
            if drawn.batch is None:
                raise DatasetError(drawn.failure or "there is no batch")
            yield drawn.batch
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise TrainingError(
            f"a process that decodes images was killed ({cause}): use fewer --workers, or 0; in a container, allow "
            "more shared memory (--shm-size 1g)"
        ) from error
    finally:
        del all_drawn  # ends the workers now, even if a traceback keeps this frame alive


def _leave_signals_to_the_run(_worker: int) -> None:
    """Ignore Ctrl-C and the first SIGTERM, which may reach all processes: the run saves first, then ends its workers.

    A second SIGTERM is not ignored: multiprocessing uses one to end workers that are left at the very end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: signal.signal(number, signal.SIG_DFL))
