"""A training run from top to bottom: where it starts, its steps, and what it writes between them.

On the CPU, 10 steps, a stop and 10 resumed steps give the same bits as 20 steps, whatever the number of workers. This
holds for the same version of torch, the same kind of CPU and the same number of threads, and on CUDA with
`--deterministic` as far as torch has deterministic algorithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from starcast.command_line import command_line, path_argument
from starcast.errors import DatasetError, OptionError, TrainingError, printable, reason_of
from starcast.hold import hold_folder
from starcast.options import as_json
from starcast.train.adain import choose_adain
from starcast.train.checkpoint.file import write_checkpoint
from starcast.train.data.folders import DataSet
from starcast.train.data.left_out import describe_data_set
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
from starcast.train.log import LossLog, open_log
from starcast.train.options import DataOptions, MachineOptions, TrainOptions, check_same_shapes
from starcast.train.run_folder import (
    RunFolder,
    discard_old,
    prepare_folder,
    read_starts,
    record_start,
    refuse_among_images,
    refuse_foreign,
    refuse_to_mix,
)
from starcast.train.samples import write_grid
from starcast.train.start_checkpoint import Parent, open_parent, reopen_parent
from starcast.train.state import (
    Progress,
    Start,
    State,
    check_same_domains,
    find_start,
    first_state,
    restore_state,
)
from starcast.train.stopping import StopRequest, TrainingStopped, record_signals
from starcast.train.terminal import print_line, standard_error

OnStep = Callable[[int, Mapping[str, float]], None]


def train(
    data: Path,
    run: Path,
    options: TrainOptions,
    *,
    resume: bool = False,
    parent: Path | Parent | None = None,
    bar: bool = True,
    on_step: OnStep | None = None,
    progress: Progress = print_line,
) -> Path:
    """Train on the folder `data` into the folder `run`. Returns the path of the last full checkpoint.

    A new run starts from random weights, or from those of the checkpoint `parent`, whose shapes `options` must ask for.
    `on_step(steps done, losses last logged)` is called after every step. `progress` gets lines about the data and the
    run, and `bar` shows a progress bar. With `resume` the run continues from its newest whole checkpoint under
    `options`, which must ask for the same networks; a run without one starts again from the beginning. SIGINT, SIGTERM
    and the other signals that ask a process to end save, then raise TrainingStopped (a KeyboardInterrupt).

    Raises DatasetError, OptionError (also while another process trains into `run`), CheckpointError, and TrainingError
    if losses are not finite or nothing can be written. Even then, checkpoints on disk are whole.
    """
    folder = RunFolder(Path(run))
    if resume and parent is not None:
        raise OptionError(
            f"{printable(run)} cannot be resumed from another checkpoint: leave out --from to resume it, or leave out "
            "--resume to start a new run"
        )
    with hold_folder(folder.path):
        refuse_foreign(folder)
        if resume:
            start = find_start(folder, progress)
            check_same_shapes(options, start.options, start.origin)
            return _continue(data, folder, options, start, bar, on_step, progress)
        refuse_to_mix(folder)
        if not isinstance(options.data, DataOptions):
            refuse_among_images(folder, Path(data), domains=False)
        elif not options.data.domains:
            refuse_among_images(folder, Path(data))
        data_set, options = _scan(data, options, progress)
        read = open_parent(parent, progress) if isinstance(parent, Path) else parent
        state = first_state(options, data_set, read, progress)
        return _run(data_set, folder, options, state, bar, on_step, progress)


def continue_run(
    data: Path,
    run: Path,
    options: TrainOptions,
    start: Start,
    *,
    bar: bool = True,
    on_step: OnStep | None = None,
    progress: Progress = print_line,
) -> Path:
    """Resume as `train` does, where `find_start` says, under options that ask for the same networks."""
    folder = RunFolder(Path(run))
    with hold_folder(folder.path):
        refuse_foreign(folder)
        return _continue(data, folder, options, start, bar, on_step, progress)


def _continue(
    data: Path,
    folder: RunFolder,
    options: TrainOptions,
    start: Start,
    bar: bool,
    on_step: OnStep | None,
    progress: Progress,
) -> Path:
    """Train from `start` to the last step. The caller holds the folder, and has refused what no run wrote in it."""
    data_set, options = _scan(data, options, progress)
    check_same_domains(data_set, start, progress)
    if start.checkpoint is None:
        read = None if start.parent is None else reopen_parent(start.parent, folder.path)
        state = first_state(options, data_set, read, progress)
        return _run(data_set, folder, options, state, bar, on_step, progress)
    state = restore_state(start.checkpoint, options)
    if state.step >= options.course.steps:
        discard_old(folder, options.output.keep, state.step)
        progress(f"{printable(start.checkpoint.path)} is already at step {state.step}: give more --steps to continue")
        return start.checkpoint.path
    return _run(data_set, folder, options, state, bar, on_step, progress)


def _scan(data: Path, options: TrainOptions, progress: Progress) -> tuple[DataSet, TrainOptions]:
    """The run's data set, and its options with `--epochs` as steps. Raises DatasetError and OptionError."""
    data_set = family(options.family).scan(data, options)
    in_steps = options.in_steps(data_set.training_images)
    course, steps = options.course, in_steps.course.steps
    if course.epochs is not None:
        progress(f"{course.epochs:g} epochs of {data_set.training_images} images are {steps} steps")
    elif course.images is not None:
        progress(f"{course.images} images are {steps} steps of {options.images_per_step}")
    return data_set, in_steps


def _run(
    data_set: DataSet,
    folder: RunFolder,
    options: TrainOptions,
    state: State,
    bar: bool,
    on_step: OnStep | None,
    progress: Progress,
) -> Path:
    """Train from `state` to the last step. The caller holds the folder."""
    for line in describe_data_set(data_set):
        progress(line)
    kind = family(options.family)
    device = choose_device(options.machine.device)
    autocast = choose_precision(options.machine.precision, device) == torch.bfloat16
    output, last = options.output, options.course.steps
    steps = range(state.step, last)
    workers = worker_count(options.data.workers, device)
    stop = StopRequest()
    again = _resume_command(data_set, folder, options)
    # the workers start before CUDA does: a forked process would have CUDA's state without its threads
    with (
        _explain_write_errors(folder, again),
        load_batches(
            kind.batches(data_set, options, workers=workers), steps, workers=workers, pin=device.type == "cuda",
            progress=progress, stopped=stop.is_made,
        ) as ready,
        explain_failures(),
    ):  # fmt: skip
        layout = torch.channels_last  # what tensor cores read, and 10 % faster on CPUs too
        adain = options.machine.adain if isinstance(options.machine, MachineOptions) else None
        implementation = choose_adain(adain, device, progress) if adain is not None else None
        prepare_folder(folder, output.keep, state.step)
        state.to(device, layout)
        for networks in (state.networks, state.averaged):
            networks.use_adain(implementation or "reference")
        if options.machine.compile:
            kind.compile_networks(state.networks)
        inputs = kind.sample_inputs(data_set, options).to(device) if output.sample_every else None
        machine = describe_machine(device, autocast, implementation)
        if device.type == "cuda":
            progress(f"Training {machine}.")
        elif options.machine.device == "auto":
            progress(f"Training on the CPU, because {why_no_gpu()}.")
        advise = partial(_advice, folder, again, options.optimizer.learning_rate, autocast)
        course = _Course(state, folder, data_set, options, again, advise)
        latest: dict[str, float] = {}
        with (
            compute_reproducibly(device, options.machine.deterministic),
            record_signals(stop),
            tqdm(
                total=last, initial=state.step, unit="step", disable=not bar, dynamic_ncols=True, file=standard_error()
            ) as steps_bar,
            _record_and_log(folder, options, data_set, state, machine, progress) as log,
        ):
            for step in steps:
                with course.saved_first():
                    batch = next(ready, None)
                if batch is None:  # the run was asked to stop while it waited
                    break
                losses = kind.training_step(
                    state.networks, state.averaged, state.optimizers, batch.to_step(device, layout), step, options,
                    autocast=autocast,
                )  # fmt: skip
                course.done = done = step + 1
                stopped = stop.is_made()  # read once: a later signal waits for the next step
                ends = done == last or stopped
                logs, snaps, saves = (
                    _is_due(done, every) for every in (output.log_every, output.snapshot_every, output.save_every)
                )
                if logs or snaps or saves or ends:
                    latest = check_finite(read_losses(losses), done, advise)  # waits for the device: not at every step
                    steps_bar.set_postfix(_pick_losses(latest, kind.shown_losses), refresh=False)
                with course.saved_first():
                    if logs:
                        log.losses(done, latest)
                    if inputs is not None and (_is_due(done, output.sample_every) or done == last):
                        for name, grid in kind.sample_grids(state.networks, state.averaged, inputs).items():
                            write_grid(folder.sample(done, name), grid)
                            log.grid(done, name, grid)
                    if snaps:
                        course.save_snapshot()
                if saves or ends:
                    course.save()
                steps_bar.update()
                if on_step is not None:
                    on_step(done, latest)
                if stopped:
                    break
            if course.done < last and stop.signal is not None:  # within the block: no second signal ends the save
                raise TrainingStopped(course.stop(), stop.signal)
    return folder.checkpoint(last)


@dataclass
class _Course:
    """How far a run has come, and what is saved of it: between two steps, all of it can be."""

    state: State
    folder: RunFolder
    data_set: DataSet
    options: TrainOptions
    again: str  # the command that continues the run
    advise: Callable[[], str]
    done: int = field(init=False)
    saved: int = field(init=False)

    def __post_init__(self) -> None:
        self.done = self.saved = self.state.step

    def save(self) -> None:
        """Write a full checkpoint of the last step. Raises TrainingError if a parameter is not finite, and OSError."""
        self._write(self.folder.checkpoint(self.done), full=True)
        self.saved = self.done
        discard_old(self.folder, self.options.output.keep, self.done)

    def save_snapshot(self) -> None:
        """Write a snapshot of the last step. Raises as `save` does."""
        self._write(self.folder.snapshot(self.done), full=False)

    def stop(self) -> str:
        """Save what is not saved yet; returns the message for the user, who asked the run to stop."""
        if not self.done:
            return f"Stopped before the first step, so nothing is saved yet: start again with `{self.again}`"
        if self.done > self.saved:
            self.save()
        where = printable(self.folder.checkpoint(self.done))
        return f"Stopped after step {self.done}; {where} is saved: continue with `{self.again}`"

    @contextmanager
    def saved_first(self) -> Iterator[None]:
        """If something fails in the block that leaves the networks as they are, save them before the run ends."""
        try:
            yield
        except (DatasetError, TrainingError, OSError, MemoryError) as error:
            if self.done == self.saved:
                raise
            try:
                self.save()
            except (TrainingError, OSError):  # the earlier error is the one to report
                raise error from None
            if isinstance(error, OSError | MemoryError):
                raise
            raise type(error)(f"{error}; step {self.done} is saved: continue with `{self.again}`") from error

    def _write(self, path: Path, *, full: bool) -> None:
        state = self.state
        broken = state.broken()
        if broken is not None:
            raise TrainingError(f"training failed at step {self.done} ({broken} is not finite): {self.advise()}")
        write_checkpoint(
            path,
            config=state.config,
            domain_names=self.data_set.names,
            step=self.done,
            averaged=state.averaged,
            networks=state.networks if full else None,
            optimizers=state.optimizers if full else None,
            options=as_json(self.options),
            dataset=self.data_set.summary(),
            parent=state.parent,
        )


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


@contextmanager
def _record_and_log(
    folder: RunFolder, options: TrainOptions, data_set: DataSet, state: State, machine: str, progress: Progress
) -> Iterator[LossLog]:
    """Record the start before anything else is written: run.json shows that what lies beside it is a run's."""
    record_start(folder, options, data_set, state.step, machine, state.parent)
    with open_log(folder, state.step, progress, options) as log:
        yield log


@contextmanager
def _explain_write_errors(folder: RunFolder, again: str) -> Iterator[None]:
    """Turn a full disk or a missing permission into one sentence. Earlier checkpoints stay whole."""
    try:
        yield
    except OSError as error:
        place = printable(error.filename or folder.path)
        if folder.full_checkpoints():
            then = f"the checkpoints of {printable(folder.path)} are whole: fix this, then run {again}"
        elif read_starts(folder):
            then = f"there is no checkpoint yet: fix this, then start from the beginning with {again}"
        else:
            then = "there is no checkpoint yet: fix this, then start again"
        raise TrainingError(f"{place} cannot be written ({reason_of(error)}); {then}") from error


def _is_due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def read_losses(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """A step's losses as numbers. Waits for the device once, for all of them."""
    return dict(zip(losses, torch.stack([value.double() for value in losses.values()]).tolist(), strict=True))


def _pick_losses(losses: Mapping[str, float], names: Mapping[str, str]) -> dict[str, str]:
    """The losses that fit beside the progress bar."""
    return {short: f"{losses[name]:.3g}" for short, name in names.items() if name in losses}
