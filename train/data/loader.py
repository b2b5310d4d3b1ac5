"""Batches prepared ahead by worker processes: started, watched, and ended with the run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator

import torch
from torch.utils.data import DataLoader

from starcast.errors import DatasetError, TrainingError
from starcast.train.data.batch import TensorBatch
from starcast.train.data.batches import Drawn, StepBatches

MOST_WORKERS = 8  # of what the machine has: more than one GPU can use


def worker_count(asked: int | None, device: torch.device) -> int:
    """How many processes decode: what was asked for, else two, and for a card, which is fast, most of the cores."""
    if asked is not None:
        return asked
    return 2 if device.type == "cpu" else max(2, min(MOST_WORKERS, (os.cpu_count() or 1) - 2))


def batches(
    dataset: StepBatches, steps: range, *, workers: int, pin: bool, report: Callable[[str], None]
) -> Generator[TensorBatch, None, None]:
    """The batch of each step, in order, prepared ahead by `workers` processes, which start now; close it to end them.

    Each unreadable file is reported once. Raises DatasetError where a domain has no readable image, and TrainingError
    where a process is ended from outside.
    """
    loader: DataLoader[Drawn] = DataLoader(
        dataset, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_run if workers else None,
    )  # fmt: skip
    return _reported(iter(loader), report)


def _reported(all_drawn: Iterator[Drawn], report: Callable[[str], None]) -> Generator[TensorBatch, None, None]:
    reported: set[str] = set()
    try:
        for drawn in all_drawn:
            for sentence in drawn.unreadable:
                if sentence not in reported:
                    reported.add(sentence)
                    report(f"{sentence} (another image of its domain stands in)")
            if drawn.batch is None:
                raise DatasetError(drawn.failure or "there is no batch")
            yield drawn.batch
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        told = str(error).partition("\n")[0] or type(error).__name__
        raise TrainingError(
            f"a process that decodes images was ended ({told}): give fewer --workers, or --workers 0, and a container "
            "more shared memory (--shm-size 1g)"
        ) from error
    finally:
        del all_drawn  # ends the workers now, even where a traceback would keep this frame


def _leave_signals_to_the_run(_worker: int) -> None:
    """Ctrl-C and SIGTERM may reach the whole process group: the run saves first, and then ends its workers.

    Only the first SIGTERM is passed over, because multiprocessing uses it to end what is left at the very end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: signal.signal(number, signal.SIG_DFL))
