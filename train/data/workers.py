"""Processes that prepare batches ahead. Each sends its share of the steps through its own pipe.

Not torch's loader: it passes tensors through /dev/shm, of which a container has 64 MiB, or through open files, of which
a shell may allow few. A worker that gets neither silently loses its batch, and the run waits forever. It also
raises in the middle of a step when a worker is killed, when a run has nothing consistent to save. Here a batch is bytes
in a pipe, and whoever waits for one hears within a moment that its worker has ended or that the run was asked to stop.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from starcast.errors import TrainingError, reason_of
from starcast.train.data.batches import Drawn, StepBatches
from starcast.train.stopping import ignore_stop_signals

WAIT_S = 0.2  # how soon a stop request is noticed while a batch is awaited
READY = 2  # batches that are unpacked ahead, besides one in the pipe of each worker
SPARE_FILES = 16  # that the run itself opens: its logs, a checkpoint, an image
_ADVICE = "use fewer --workers, or 0"


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    results: Connection


@contextmanager
def work_ahead(
    dataset: StepBatches, steps: range, *, workers: int, pin: bool, progress: Callable[[str], None],
    stopped: Callable[[], bool],
) -> Iterator[Iterator[Drawn] | None]:  # fmt: skip
    """What `workers` processes draw for each step, in order; None if not even one process can be started.

    They start now, and are ended with the block. The iterator ends early once `stopped()`. It raises TrainingError if a
    worker ends before its work is done.
    """
    running = _start_what_fits(dataset, steps, workers, progress)
    if not running:
        yield None
        return
    ready: queue.Queue[Drawn | Exception] = queue.Queue(READY)
    closing = threading.Event()
    reader = threading.Thread(target=_read_in_order, args=(running, steps, ready, closing, pin), daemon=True)
    reader.start()  # after the last fork: a forked thread would be lost
    try:
        yield _take(ready, len(steps), stopped)
    finally:
        closing.set()
        _end(running)
        reader.join(5)  # at once, because every pipe has ended
        for worker in running:
            worker.results.close()


def _start_what_fits(dataset: StepBatches, steps: range, wanted: int, progress: Callable[[str], None]) -> list[_Worker]:
    """As many workers as the system allows, at most `wanted`, and never more than there are steps."""
    count = min(wanted, len(steps))
    reason = ""
    while count:
        try:
            running = _start(dataset, [steps[first::count] for first in range(count)])
        except OSError as error:  # too many open files, too many processes, too little memory
            reason, count = reason_of(error), count // 2
            continue
        if reason:
            progress(f"{count} of {wanted} processes decode images, because the system allows no more ({reason})")
        return running
    if reason:
        progress(f"The run decodes images itself, because no process can be started for that ({reason})")
    return []


def _start(dataset: StepBatches, shares: Sequence[range]) -> list[_Worker]:
    """A worker for each share. Raises OSError, with none left running, if the system does not allow them."""
    running: list[_Worker] = []
    gc.collect()  # or a worker could free garbage of the run before it calls gc.freeze
    try:
        for share in shares:
            results, sending = multiprocessing.Pipe(duplex=False)
            try:
                process = multiprocessing.Process(target=_work, args=(dataset, share, sending), daemon=True)
                process.start()
            except BaseException:
                results.close()
                raise
            finally:
                sending.close()  # the worker's copy is now the only one: when it ends, so does the pipe
            running.append(_Worker(process, results))
        _check_spare_files()
    except BaseException:
        _end(running)
        for worker in running:
            worker.results.close()
        raise
    return running


def _check_spare_files() -> None:
    """Raise OSError unless the run can still open the files it needs."""
    opened: list[int] = []
    try:
        for _ in range(SPARE_FILES):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for handle in opened:
            os.close(handle)


def _end(running: Sequence[_Worker]) -> None:
    """End the workers at once. They write nothing, so nothing can be left half done."""
    for worker in running:
        worker.process.kill()
    for worker in running:
        worker.process.join(5)  # not forever: one that hangs in the kernel cannot be ended


def _take(ready: queue.Queue[Drawn | Exception], count: int, stopped: Callable[[], bool]) -> Iterator[Drawn]:
    for _ in range(count):
        while True:
            if stopped():
                return
            with suppress(queue.Empty):
                drawn = ready.get(timeout=WAIT_S)
                break
        if isinstance(drawn, Exception):
            raise drawn
        yield drawn


def _read_in_order(
    running: Sequence[_Worker], steps: range, ready: queue.Queue[Drawn | Exception], closing: threading.Event, pin: bool
) -> None:
    """In a thread: unpack what the workers send, in the order of the steps. The last item may be an error."""
    try:
        for position in range(len(steps)):
            drawn = _receive(running[position % len(running)])
            if isinstance(drawn, Drawn) and pin:
                drawn = drawn.pin_memory()
            _offer(ready, drawn, closing)
            if closing.is_set() or isinstance(drawn, Exception):
                return
    except Exception as error:  # noqa: BLE001  it is raised where the batch is awaited
        _offer(ready, error, closing)


def _offer(ready: queue.Queue[Drawn | Exception], item: Drawn | Exception, closing: threading.Event) -> None:
    while not closing.is_set():
        with suppress(queue.Full):
            ready.put(item, timeout=WAIT_S)
            return


def _receive(worker: _Worker) -> Any:
    """What the worker sends next. Raises TrainingError if it has ended instead."""
    wait([worker.results, worker.process.sentinel])
    try:
        return pickle.loads(worker.results.recv_bytes())
    except (EOFError, OSError):
        worker.process.join(1)
        raise TrainingError(
            f"a process that decodes images {_how_it_ended(worker.process.exitcode)}: {_ADVICE}"
        ) from None


def _how_it_ended(status: int | None) -> str:
    if status is None or status >= 0:
        return f"ended unexpectedly (status {status})"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"was killed ({name}{hint})"


def _work(dataset: StepBatches, share: range, sending: Connection) -> None:
    """In a worker: draw and send the batch of each step in the share."""
    gc.freeze()  # never free the run's objects: closing a decoder would wait for threads that only the run has
    ignore_stop_signals()
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    torch.set_num_threads(1)  # the cores are the training's
    with suppress(BrokenPipeError, ConnectionError):  # the run has ended
        for step in share:
            sending.send_bytes(_packed(dataset, step))


def _packed(dataset: StepBatches, step: int) -> bytes:
    try:
        return pickle.dumps(dataset[step], pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return pickle.dumps(TrainingError(f"a process that decodes images has too little memory: {_ADVICE}"))
    except Exception as error:  # noqa: BLE001  a mistake in our own code: the run shows where it happened
        error.add_note(f"in a process that decodes images, at step {step}")
        try:
            return pickle.dumps(error)
        except Exception:  # noqa: BLE001  some errors hold what cannot be sent
            return pickle.dumps(RuntimeError(repr(error)))


def _end_with_the_run() -> None:
    """Leave as soon as the run's process is gone, even if it was killed and a sibling still holds the pipe open."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
