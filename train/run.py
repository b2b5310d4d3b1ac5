"""The run, from top to bottom: where it starts, its steps, and what is written between them.

What is guaranteed: on the CPU, 10 steps, a stop and 10 resumed steps give the bits of 20 steps, whatever the number of
workers; with the same torch, the same kind of processor and the same number of threads. On CUDA with
`--deterministic`, as far as torch has deterministic algorithms.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from starcast.errors import TrainingError
from starcast.options import as_json
from starcast.train.adain import choose_adain
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import write_checkpoint
from starcast.train.data.folders import DataSet, scan_for_training
from starcast.train.data.loader import batches, worker_count
from starcast.train.device import (
    choose_device,
    choose_precision,
    described,
    explained,
    reproducible,
    why_no_card,
)
from starcast.train.families import DEFAULT, family
from starcast.train.log import open_log
from starcast.train.options import TrainOptions, check_same_shapes
from starcast.train.resume import check_same_domains, newest_whole, options_of, restored_state
from starcast.train.run_folder import RunFolder, discard_old, record_start, refuse_to_mix
from starcast.train.samples import write_grid
from starcast.train.state import State, fresh_state
from starcast.train.stopping import TrainingStopped, stop_on_signals

OnStep = Callable[[int, Mapping[str, float]], None]
Report = Callable[[str], None]


def to_the_screen(sentence: str) -> None:
    """A sentence above the progress bar, on the error output."""
    tqdm.write(sentence, file=sys.stderr)


def train(
    data: Path,
    run: Path,
    options: TrainOptions,
    *,
    resume: bool = False,
    progress: bool = True,
    on_step: OnStep | None = None,
    report: Report = to_the_screen,
) -> Path:
    """Train on the folder `data` into the folder `run`; gives the path of the last full checkpoint.

    `on_step(steps done, losses last logged)` is called after every step; `report` gets sentences that do not end the
    run. With `resume` the run goes on from its newest whole checkpoint under `options`, whose shapes must be its own.
    SIGINT and SIGTERM save, then raise TrainingStopped (a KeyboardInterrupt). Raises DatasetError, OptionError,
    CheckpointError, and TrainingError when losses are not finite or nothing can be written; then the checkpoints that
    are there are whole.
    """
    folder = RunFolder(Path(run))
    if resume:
        checkpoint = newest_whole(folder, report)
        check_same_shapes(options, options_of(checkpoint), str(checkpoint.path))
        return continue_run(data, run, options, checkpoint, progress=progress, on_step=on_step, report=report)
    refuse_to_mix(folder)
    data_set = scan_for_training(data, options.data.domains)
    state = fresh_state(options, len(data_set.domains))
    return _run(data_set, folder, options, state, progress, on_step, report)


def continue_run(
    data: Path,
    run: Path,
    options: TrainOptions,
    checkpoint: Checkpoint,
    *,
    progress: bool = True,
    on_step: OnStep | None = None,
    report: Report = to_the_screen,
) -> Path:
    """`train` from a checkpoint that has been read, under options of the same shapes."""
    data_set = scan_for_training(data, options.data.domains)
    check_same_domains(data_set, checkpoint, report)
    state = restored_state(checkpoint, options)
    if state.step >= options.course.steps:
        report(f"{checkpoint.path} is at step {state.step} already: give more --steps to go on")
        return checkpoint.path
    return _run(data_set, RunFolder(Path(run)), options, state, progress, on_step, report)


def _run(
    data_set: DataSet,
    folder: RunFolder,
    options: TrainOptions,
    state: State,
    progress: bool,
    on_step: OnStep | None,
    report: Report,
) -> Path:
    kind = family(options.family)
    device = choose_device(options.machine.device)
    autocast = choose_precision(options.machine.precision, device) == torch.bfloat16
    output, last = options.output, options.course.steps
    steps = range(state.step, last)
    workers = worker_count(options.data.workers, device)
    # first: what is forked when the card's library runs already has its threads without their states
    ready = batches(
        kind.batches(data_set, options, workers=workers), steps, workers=workers, pin=device.type == "cuda",
        report=report,
    )  # fmt: skip
    layout = torch.channels_last  # what tensor cores read, and a tenth faster on processors too
    with explained():
        implementation = choose_adain(options.machine.adain, device, report)
        state.to(device, layout)
        for networks in (state.networks, state.averaged):
            networks.use_adain(implementation)
        if options.machine.compile:
            kind.compile_networks(state.networks)
        inputs = kind.sample_inputs(data_set, options).to(device) if output.sample_every else None
    again = _resume_command(data_set, folder, options)
    machine = described(device, autocast, implementation)
    if device.type == "cuda":
        report(f"Training {machine}.")
    elif options.machine.device == "auto":
        report(f"Training on the processor, as {why_no_card()}.")
    advise = partial(_advice, folder, again, options.optimizer.learning_rate, autocast)
    latest: dict[str, float] = {}
    with (
        closing(ready),
        explained(),
        _writing(folder, again),
        reproducible(device, options.machine.deterministic),
        stop_on_signals() as stop,
        open_log(folder, state.step, report) as log,
        tqdm(total=last, initial=state.step, unit="step", disable=not progress, dynamic_ncols=True) as bar,
    ):
        record_start(folder, options, data_set, state.step, machine)
        for step, batch in zip(steps, ready, strict=True):
            losses = kind.training_step(
                state.networks, state.averaged, state.optimizers, batch.to_step(device, layout), step, options,
                autocast=autocast,
            )  # fmt: skip
            done = step + 1
            stopped = stop.signal  # asked once: a signal that comes after this waits for the next step
            ends = done == last or stopped is not None
            logs, snaps, saves = (
                _is_due(done, every) for every in (output.log_every, output.snapshot_every, output.save_every)
            )
            if logs or snaps or saves or ends:
                latest = finite(read_losses(losses), done, advise)  # waits for the device, so not at every step
                bar.set_postfix(_shown(latest, kind.shown_losses), refresh=False)
            if logs:
                log.losses(done, latest)
            if inputs is not None and (_is_due(done, output.sample_every) or done == last):
                for name, grid in kind.sample_grids(state.averaged, inputs).items():
                    write_grid(folder.sample(done, name), grid)
                    log.grid(done, name, grid)
            if snaps:
                _save(folder.snapshot(done), state, done, data_set, options, advise, full=False)
            if saves or ends:
                _save(folder.checkpoint(done), state, done, data_set, options, advise, full=True)
                discard_old(folder, output.keep, done)
            bar.update()
            if on_step is not None:
                on_step(done, latest)
            if stopped is not None and done < last:
                saved = folder.checkpoint(done)
                raise TrainingStopped(f"Stopped after step {done}, {saved} is saved: `{again}` goes on", stopped)
    return folder.checkpoint(last)


def _resume_command(data_set: DataSet, folder: RunFolder, options: TrainOptions) -> str:
    named = [] if options.family == DEFAULT else ["--family", options.family]
    return shlex.join(["starcast", "train", str(data_set.path), "-o", str(folder.path), "--resume", *named])


def finite(losses: dict[str, float], done: int, advise: Callable[[], str]) -> dict[str, float]:
    """The losses, if all are finite. Raises TrainingError, with what is advised then."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise TrainingError(f"the run went wrong at step {done} ({name} is {value}): {advise()}")
    return losses


def _advice(folder: RunFolder, again: str, learning_rate: float, autocast: bool) -> str:
    """What to do about losses that are not finite, or parameters."""
    lower = f"--learning-rate {learning_rate / 2:g}{' --precision fp32' if autocast else ''}"
    if folder.full_checkpoints():
        return f"go on from the checkpoint before, more carefully: {again} {lower}"
    return f"there is no checkpoint yet, so start anew, more carefully: {lower}"


def _save(
    path: Path,
    state: State,
    done: int,
    data_set: DataSet,
    options: TrainOptions,
    advise: Callable[[], str],
    *,
    full: bool,
) -> None:
    """Write a checkpoint, full or of the averaged networks alone, unless a parameter is not finite."""
    broken = state.broken()
    if broken is not None:
        raise TrainingError(f"the run went wrong at step {done} ({broken} is not finite): {advise()}")
    write_checkpoint(
        path,
        config=state.config,
        domain_names=data_set.names,
        step=done,
        averaged=state.averaged,
        networks=state.networks if full else None,
        optimizers=state.optimizers if full else None,
        options=as_json(options),
        dataset=data_set.summary(),
    )


@contextmanager
def _writing(folder: RunFolder, again: str) -> Iterator[None]:
    """A full disk or a lost right as one sentence; whatever was whole before is whole still."""
    try:
        yield
    except OSError as error:
        place, reason = error.filename or folder.path, (error.strerror or str(error)).lower()
        raise TrainingError(
            f"{place} cannot be written ({reason}); the checkpoints of {folder.path} are whole: mend it, then {again}"
        ) from error


def _is_due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def read_losses(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """A step's losses as numbers. Waits for the device, once for all of them."""
    return dict(zip(losses, torch.stack([value.double() for value in losses.values()]).tolist(), strict=True))


def _shown(losses: Mapping[str, float], names: Mapping[str, str]) -> dict[str, str]:
    """The losses that fit beside the progress bar."""
    return {short: f"{losses[name]:.3g}" for short, name in names.items() if name in losses}
