"""A training run from top to bottom: where it starts, its steps, and what it writes between them.

On the CPU, 10 steps, a stop and 10 resumed steps give the same bits as 20 steps, whatever the number of workers. This
holds for the same version of torch, the same kind of CPU and the same number of threads, and on CUDA with
`--deterministic` as far as torch has deterministic algorithms.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from starcast.command_line import command_line, path_argument
from starcast.errors import TrainingError, reason_of
from starcast.options import as_json
from starcast.train.adain import choose_adain
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import write_checkpoint
from starcast.train.data.folders import DataSet, scan_for_training
from starcast.train.data.loader import load_batches, worker_count
from starcast.train.device import (
    choose_device,
    choose_precision,
    compute_reproducibly,
    describe_machine,
    explain_failures,
    why_no_gpu,
)
from starcast.train.families import DEFAULT, family
from starcast.train.log import open_log
from starcast.train.options import TrainOptions, check_same_shapes
from starcast.train.run_folder import RunFolder, discard_old, record_start, refuse_to_mix
from starcast.train.samples import write_grid
from starcast.train.state import (
    Progress,
    State,
    check_same_domains,
    fresh_state,
    options_of,
    read_newest_whole,
    restore_state,
)
from starcast.train.stopping import TrainingStopped, stop_on_signals

OnStep = Callable[[int, Mapping[str, float]], None]


def print_line(line: str) -> None:
    """Print a line above the progress bar, on standard error."""
    tqdm.write(line, file=sys.stderr)


def train(
    data: Path,
    run: Path,
    options: TrainOptions,
    *,
    resume: bool = False,
    bar: bool = True,
    on_step: OnStep | None = None,
    progress: Progress = print_line,
) -> Path:
    """Train on the folder `data` into the folder `run`. Returns the path of the last full checkpoint.

    `on_step(steps done, losses last logged)` is called after every step. `progress` gets lines about the run, and `bar`
    shows a progress bar. With `resume` the run continues from its newest whole checkpoint under `options`, which must
    ask for the same networks. SIGINT and SIGTERM save, then raise TrainingStopped (a KeyboardInterrupt).

    Raises DatasetError, OptionError, CheckpointError, and TrainingError if losses are not finite or nothing can be
    written. Even then, checkpoints on disk are whole.
    """
    folder = RunFolder(Path(run))
    if resume:
        checkpoint = read_newest_whole(folder, progress)
        check_same_shapes(options, options_of(checkpoint), str(checkpoint.path))
        return continue_run(data, run, options, checkpoint, bar=bar, on_step=on_step, progress=progress)
    refuse_to_mix(folder)
    data_set = scan_for_training(data, options.data.domains)
    state = fresh_state(options, len(data_set.domains))
    return _run(data_set, folder, options, state, bar, on_step, progress)


def continue_run(
    data: Path,
    run: Path,
    options: TrainOptions,
    checkpoint: Checkpoint,
    *,
    bar: bool = True,
    on_step: OnStep | None = None,
    progress: Progress = print_line,
) -> Path:
    """Resume as `train` does, from a checkpoint already read, under options that ask for the same networks."""
    data_set = scan_for_training(data, options.data.domains)
    check_same_domains(data_set, checkpoint, progress)
    state = restore_state(checkpoint, options)
    if state.step >= options.course.steps:
        progress(f"{checkpoint.path} is already at step {state.step}: give more --steps to continue")
        return checkpoint.path
    return _run(data_set, RunFolder(Path(run)), options, state, bar, on_step, progress)


def _run(
    data_set: DataSet,
    folder: RunFolder,
    options: TrainOptions,
    state: State,
    bar: bool,
    on_step: OnStep | None,
    progress: Progress,
) -> Path:
    kind = family(options.family)
    device = choose_device(options.machine.device)
    autocast = choose_precision(options.machine.precision, device) == torch.bfloat16
    output, last = options.output, options.course.steps
    steps = range(state.step, last)
    workers = worker_count(options.data.workers, device)
    # before CUDA starts: a forked process would have CUDA's state without its threads
    ready = load_batches(
        kind.batches(data_set, options, workers=workers), steps, workers=workers, pin=device.type == "cuda",
        progress=progress,
    )  # fmt: skip
    layout = torch.channels_last  # what tensor cores read, and 10 % faster on CPUs too
    with explain_failures():
        implementation = choose_adain(options.machine.adain, device, progress)
        state.to(device, layout)
        for networks in (state.networks, state.averaged):
            networks.use_adain(implementation)
        if options.machine.compile:
            kind.compile_networks(state.networks)
        inputs = kind.sample_inputs(data_set, options).to(device) if output.sample_every else None
    again = _resume_command(data_set, folder, options)
    machine = describe_machine(device, autocast, implementation)
    if device.type == "cuda":
        progress(f"Training {machine}.")
    elif options.machine.device == "auto":
        progress(f"Training on the CPU, because {why_no_gpu()}.")
    advise = partial(_advice, folder, again, options.optimizer.learning_rate, autocast)
    latest: dict[str, float] = {}
    with (
        closing(ready),
        explain_failures(),
        _explain_write_errors(folder, again),
        compute_reproducibly(device, options.machine.deterministic),
        stop_on_signals() as stop,
        open_log(folder, state.step, progress) as log,
        tqdm(total=last, initial=state.step, unit="step", disable=not bar, dynamic_ncols=True) as steps_bar,
    ):
        record_start(folder, options, data_set, state.step, machine)
        for step, batch in zip(steps, ready, strict=True):
            losses = kind.training_step(
                state.networks, state.averaged, state.optimizers, batch.to_step(device, layout), step, options,
                autocast=autocast,
            )  # fmt: skip
            done = step + 1
            stopped = stop.signal  # read once: a later signal waits for the next step
            ends = done == last or stopped is not None
            logs, snaps, saves = (
                _is_due(done, every) for every in (output.log_every, output.snapshot_every, output.save_every)
            )
            if logs or snaps or saves or ends:
                latest = check_finite(read_losses(losses), done, advise)  # waits for the device, so not at every step
                steps_bar.set_postfix(_pick_losses(latest, kind.shown_losses), refresh=False)
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
            steps_bar.update()
            if on_step is not None:
                on_step(done, latest)
            if stopped is not None and done < last:
                saved = folder.checkpoint(done)
                raise TrainingStopped(f"Stopped after step {done}; {saved} is saved: continue with `{again}`", stopped)
    return folder.checkpoint(last)


def _resume_command(data_set: DataSet, folder: RunFolder, options: TrainOptions) -> str:
    named = [] if options.family == DEFAULT else ["--family", options.family]
    data = path_argument(data_set.path)
    return command_line("starcast", "train", data, "-o", folder.path, "--resume", *named)


def check_finite(losses: dict[str, float], done: int, advise: Callable[[], str]) -> dict[str, float]:
    """Return the losses unchanged. Raises TrainingError, with advice, if one is not finite."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise TrainingError(f"training failed at step {done} ({name} is {value}): {advise()}")
    return losses


def _advice(folder: RunFolder, again: str, learning_rate: float, autocast: bool) -> str:
    """What to do if losses or parameters are not finite."""
    lower = f"--learning-rate {learning_rate / 2:g}{' --precision fp32' if autocast else ''}"
    if folder.full_checkpoints():
        return f"resume from the last checkpoint with a lower rate: {again} {lower}"
    return f"there is no checkpoint yet, so start over with a lower rate: {lower}"


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
    """Write a full checkpoint or a snapshot. Raises TrainingError if a parameter is not finite."""
    broken = state.broken()
    if broken is not None:
        raise TrainingError(f"training failed at step {done} ({broken} is not finite): {advise()}")
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
def _explain_write_errors(folder: RunFolder, again: str) -> Iterator[None]:
    """Turn a full disk or a missing permission into one sentence. Earlier checkpoints stay whole."""
    try:
        yield
    except OSError as error:
        place, reason = error.filename or folder.path, reason_of(error)
        raise TrainingError(
            f"{place} cannot be written ({reason}); the checkpoints of {folder.path} are whole: fix this, then run "
            f"{again}"
        ) from error


def _is_due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def read_losses(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """A step's losses as numbers. Waits for the device once, for all of them."""
    return dict(zip(losses, torch.stack([value.double() for value in losses.values()]).tolist(), strict=True))


def _pick_losses(losses: Mapping[str, float], names: Mapping[str, str]) -> dict[str, str]:
    """The losses that fit beside the progress bar."""
    return {short: f"{losses[name]:.3g}" for short, name in names.items() if name in losses}
