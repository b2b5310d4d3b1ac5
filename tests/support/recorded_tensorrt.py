"""TensorRT proper as far as a build goes, without doing anything: it keeps what it is told, as its engine.

The names and parameters are those of the bindings of 10.13 to 11.4; whatever is not there raises, so that code for what
11 has removed fails here. `ATTEMPT` in the environment says how the build goes: well, or as one of refuse, crash, exit,
silent, print, hang and slow.
"""

from __future__ import annotations

import enum
import json
import os
import signal
import time
from typing import Any

__version__ = os.environ.get("RECORDED_VERSION", "11.4.0.106")


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 0  # 1 in TensorRT 10, behind EXPLICIT_BATCH
    PREFER_JIT_PYTHON_PLUGINS = 1
    PREFER_AOT_PYTHON_PLUGINS = 2


class BuilderFlag(enum.IntEnum):
    TF32 = 6


class ProfilingVerbosity(enum.IntEnum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class _Strict:
    """Takes no attribute that it was not made with."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).__annotations__:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        super().__setattr__(name, value)


class ITensor(_Strict):
    name: str

    def __init__(self, name: str) -> None:
        self.name = name


class INetworkDefinition(_Strict):
    flags: int
    graph: str
    names: list[str]

    def __init__(self, flags: int) -> None:
        self.flags, self.graph, self.names = flags, "", []

    @property
    def num_inputs(self) -> int:
        return len(self.names)

    def get_input(self, index: int) -> ITensor:
        return ITensor(self.names[index])


class ParserError:
    def desc(self) -> str:
        return 'creator && "Plugin not found"'

    def node_name(self) -> str:
        return "norm.fused"

    def node_operator(self) -> str:
        return "AdainLeakyRelu"


class OnnxParser:
    num_errors = 0

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network

    def parse_from_file(self, model: str) -> bool:
        import onnx

        if os.environ.get("ATTEMPT") == "refuse":
            self.num_errors = 1
            return False
        self._network.graph = model
        self._network.names = [one.name for one in onnx.load(model).graph.input]
        return True

    def get_error(self, index: int) -> ParserError:
        return ParserError()


class IOptimizationProfile(_Strict):
    shapes: dict[str, list[tuple[int, ...]]]

    def __init__(self) -> None:
        self.shapes = {}

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:
        self.shapes[input] = [min, opt, max]


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> memoryview:
        return memoryview(self.content + b"measured;")


class IBuilderConfig(_Strict):
    profiling_verbosity: ProfilingVerbosity
    progress_monitor: IProgressMonitor
    builder_optimization_level: int
    profile: IOptimizationProfile
    cache: ITimingCache
    exact: bool = False

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.exact |= flag == BuilderFlag.TF32

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self.cache


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._log = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> memoryview | None:
        attempt = os.environ.get("ATTEMPT", "")
        if attempt == "crash":
            os.write(2, b"CHECK(status == CUDA_SUCCESS)\n\n")
            os.kill(os.getpid(), signal.SIGSEGV)
        if attempt == "exit":
            os.write(2, b"[I] building\nterminate called after throwing an instance of 'std::bad_alloc'\n")
            os._exit(3)
        if attempt == "silent":
            os._exit(0)
        if attempt == "print":
            os.write(1, b'["Built", -1]\n')
        if attempt == "hang":
            time.sleep(600)
        steps, pause = (10_000, 0.02) if attempt == "slow" else (4, 0)
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, steps)
        for step in range(steps):
            time.sleep(pause)
            if not monitor.step_complete("Building engine", step):
                self._log.log(ILogger.ERROR, "BuildCanceled")
                return None
        monitor.phase_finish("Building engine")
        told = {
            "flags": network.flags, "graph": network.graph, "shapes": config.profile.shapes,
            "verbosity": int(config.profiling_verbosity), "timings": config.cache.content.decode(),
            "exact": config.exact,
        }  # fmt: skip
        return memoryview(json.dumps(told).encode())
