"""Which TensorRT builds, and for which GPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starcast.errors import MissingExtraError, OptionError
from starcast.runtime.engines.base import Absence
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.tensorrt.build_options import BuildOptions
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS, Flavour, too_old_for


@dataclass(frozen=True)
class Targets:
    """The flavour, the generations to build for, and the GPU that kernels are timed on; None if built ahead of time.

    Each generation gets its own engine: a program for several is limited by the oldest of them, and any Turing among
    them decides the code for all.
    """

    flavour: Flavour
    generations: tuple[str, ...]
    gpu: Gpu | None


def choose_targets(options: BuildOptions, gpu: Gpu | None, why_no_gpu: Callable[[], str | None]) -> Targets:
    """The targets that the options ask for on a machine with this GPU. Raises MissingExtraError, OptionError."""
    flavour = _choose_flavour(options, gpu)
    generations = _choose_generations(options, flavour, gpu, why_no_gpu)
    for generation in generations:
        reason = too_old_for(options.precision, generation)
        if reason is not None:
            raise OptionError(
                f"--precision is {options.precision}, but {reason}: "
                f"{'leave it out of --gpu, or ' if options.gpu else ''}give --precision fp16"
            )
    return Targets(flavour, generations, None if flavour.ahead_of_time else gpu)


def _choose_flavour(options: BuildOptions, gpu: Gpu | None) -> Flavour:
    if options.engine is not None:
        asked = [FLAVOURS[options.engine]]
    elif options.gpu:
        asked = [flavour for flavour in FLAVOURS.values() if flavour.ahead_of_time]
    else:
        # without a GPU, the flavour that needs none comes first
        asked = sorted(FLAVOURS.values(), key=lambda flavour: flavour.ahead_of_time != (gpu is None))
    if options.gpu and not asked[0].ahead_of_time:
        raise OptionError(
            f"--gpu is for TensorRT for RTX: {asked[0].title} builds only for the GPU that is here; leave --gpu out, "
            "or give --backend tensorrt-rtx"
        )
    absences: dict[str, Absence] = {}
    for flavour in asked:
        absence = flavour.absent()
        if absence is None:
            return flavour
        absences[flavour.name] = absence
    if len(asked) == 1:
        [(name, absence)] = absences.items()
        raise MissingExtraError(f"{name} cannot be used ({absence.reason}){absence.remedy(asked[0].install_line)}")
    reasons = ", ".join(f"{name}: {absence.reason}" for name, absence in absences.items())
    raise MissingExtraError(
        f"no TensorRT can be used ({reasons}): {FLAVOURS['tensorrt-rtx'].install_line} for GeForce and RTX GPUs, "
        f"{FLAVOURS['tensorrt'].install_line} for those of data centres"
    )


def _choose_generations(
    options: BuildOptions, flavour: Flavour, gpu: Gpu | None, why_no_gpu: Callable[[], str | None]
) -> tuple[str, ...]:
    known = ", ".join(flavour.targets)
    for name in options.gpu:
        if name not in flavour.targets:
            raise OptionError(f"--gpu is {name!r}, which {flavour.title} does not build for: give some of {known}")
    if options.gpu:
        return tuple(dict.fromkeys(options.gpu))
    if gpu is None:
        then = f"name generations, as in --gpu {flavour.targets[2]},{flavour.targets[3]}" if known else (
            "build where it is, or for named generations with --backend tensorrt-rtx --gpu"
        )  # fmt: skip
        raise OptionError(f"this machine has no NVIDIA GPU to build for ({why_no_gpu()}): {then}")
    if flavour.ahead_of_time and gpu.sm not in flavour.targets:
        raise OptionError(
            f"{flavour.title} builds for {known}, not for the GPU that is here ({gpu.name}, {gpu.sm}): "
            "give --backend tensorrt, or --gpu for another machine's GPU"
        )
    return (gpu.sm,)
