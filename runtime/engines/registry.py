"""The engines by name: the table of this package, and the engines that other packages register.

An engine's module is imported when the engine is asked for, so a command with `--backend` imports one of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from starcast.errors import MissingExtraError, OptionError
from starcast.runtime.engines.base import Engine

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

AUTO = "auto"
# `module:class`, called with the engine's name if several share it. The first on a GPU that is ready is used. TensorRT
# proper leads: it supports every GPU, and times its kernels on the one at hand. Where nothing is measured, the first
# available one on the CPU is used. The likeliest winner comes first, in case there is no time to measure all: OpenVINO
# is the fastest on CPUs with the newest instruction sets, ncnn on others, and ONNX Runtime is a little behind OpenVINO.
_TABLE = {
    "tensorrt": "starcast.runtime.engines.tensorrt:TensorRT",
    "tensorrt-rtx": "starcast.runtime.engines.tensorrt:TensorRTforRTX",
    "cuda": "starcast.runtime.engines.onnxruntime_cuda:OnnxRuntimeCuda",
    "openvino": "starcast.runtime.engines.openvino:OpenVINO",
    "ncnn": "starcast.runtime.engines.ncnn:Ncnn",
    "onnxruntime": "starcast.runtime.engines.onnxruntime:OnnxRuntime",
    "ncnn-vulkan": "starcast.runtime.engines.ncnn:NcnnVulkan",
}
# Never chosen by `auto`: a Vulkan driver may be a software renderer on the CPU, where one run takes minutes.
NAMED_ONLY = ("ncnn-vulkan",)
GROUP = "starcast.engines"  # entry points: Engine classes called without arguments; never chosen by `auto` either


class EngineTable(Mapping[str, Engine]):
    """One engine for each name of a table, made when it is first asked for."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self._table = table
        self._engines: dict[str, Engine] = {}

    def __getitem__(self, name: str) -> Engine:
        if name not in self._engines:
            module, kind = self._table[name].split(":")
            self._engines[name] = getattr(importlib.import_module(module), kind)()
        return self._engines[name]

    def __contains__(self, name: object) -> bool:
        return name in self._table  # Mapping's own would make the engine

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


ENGINES = EngineTable(_TABLE)


def find_engine(name: str) -> Engine:
    """An engine by its name. Raises OptionError for an unknown one, MissingExtraError for one that does not load."""
    if name in ENGINES:
        return ENGINES[name]
    from importlib.metadata import entry_points  # takes 10 ms, which an engine of ours need not wait for

    registered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in registered:
        return _load(registered[name])
    raise OptionError(f"--backend is {name!r}: give one of {', '.join((AUTO, *ENGINES, *sorted(registered)))}")


def find_engines(name: str) -> list[Engine]:
    """The engine of that name, or those that `auto` chooses from. Raises what `find_engine` raises."""
    if name != AUTO:
        return [find_engine(name)]
    return [ENGINES[name] for name in ENGINES if name not in NAMED_ONLY]


def _load(entry: EntryPoint) -> Engine:
    try:
        engine: Engine = entry.load()()
    except (ImportError, AttributeError) as error:
        provider = entry.dist.name if entry.dist is not None else entry.value
        raise MissingExtraError(f"{entry.name} cannot be loaded ({error}): install {provider} again") from error
    return engine
