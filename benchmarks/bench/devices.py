"""The devices by the name that `--device` takes."""

from __future__ import annotations

from starcast.benchmarks.bench.cpu import Cpu
from starcast.benchmarks.bench.device import Device


def choose_device(name: str) -> Device:
    """The CPU or an NVIDIA GPU; `auto` is the GPU if there is one. Raises OptionError if a GPU is asked for in vain."""
    if name == "cpu":
        return Cpu()  # without asking a driver
    from starcast.train.device import choose_device as choose_for_torch

    if choose_for_torch(name).type == "cpu":
        return Cpu()
    from starcast.benchmarks.bench.gpu import NvidiaGpu

    return NvidiaGpu()
