"""The engines by name: the table of this package, and the engines that other packages register."""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint

from starcast.errors import MissingExtraError, OptionError
from starcast.runtime.engines.base import Engine
from starcast.runtime.engines.ncnn import Ncnn, NcnnVulkan
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.onnxruntime_cuda import OnnxRuntimeCuda
from starcast.runtime.engines.openvino import OpenVINO
from starcast.runtime.engines.tensorrt import TensorRT

AUTO = "auto"
# The first that is ready is used. TensorRT proper leads: it supports every GPU, and times its kernels on the one at
# hand.
GPU_ENGINES: tuple[Engine, ...] = (TensorRT("tensorrt"), TensorRT("tensorrt-rtx"), OnnxRuntimeCuda())
# Where nothing is measured, the first available one is used. They are ordered by their chance to win, in case there is
# no time to measure all: OpenVINO leads with the newest instruction sets, ncnn without them, and ONNX Runtime stays a
# little behind OpenVINO.
CPU_ENGINES: tuple[Engine, ...] = (OpenVINO(), Ncnn(), OnnxRuntime())
ENGINES: dict[str, Engine] = {engine.name: engine for engine in (*GPU_ENGINES, *CPU_ENGINES, NcnnVulkan())}
# Never chosen by `auto`: a Vulkan driver may be a software renderer on the CPU, where one run takes minutes.
NAMED_ONLY = ("ncnn-vulkan",)
GROUP = "starcast.engines"  # entry points: Engine classes called without arguments; never chosen by `auto` either


def find_engine(name: str) -> Engine:
    """An engine by its name. Raises OptionError for an unknown one, MissingExtraError for one that does not load."""
    if name in ENGINES:
        return ENGINES[name]
    registered = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name in registered:
        return _load(registered[name])
    raise OptionError(f"--backend is {name!r}: give one of {', '.join((AUTO, *ENGINES, *sorted(registered)))}")


def find_engines(name: str) -> list[Engine]:
    """The engine of that name, or those that `auto` chooses from. Raises what `find_engine` raises."""
    if name != AUTO:
        return [find_engine(name)]
    return [engine for engine in ENGINES.values() if engine.name not in NAMED_ONLY]


def _load(entry: EntryPoint) -> Engine:
    try:
        engine: Engine = entry.load()()
    except (ImportError, AttributeError) as error:
        provider = entry.dist.name if entry.dist is not None else entry.value
        raise MissingExtraError(f"{entry.name} cannot be loaded ({error}): install {provider} again") from error
    return engine
