"""An engine in memory, and how each flavour runs it for the shapes at hand.

TensorRT for RTX compiles its kernels for this machine's GPU, stores them in a runtime cache, and replays CUDA graphs by
itself. TensorRT proper leaves CUDA graphs to us: we record one for each combination of shapes. Both always read and
write the same addresses, so that a recorded graph stays valid.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from starcast.errors import EngineError
from starcast.runtime.engines.base import one_line
from starcast.runtime.nvidia.driver import RECORDING, Driver
from starcast.runtime.nvidia.recorded import RECORDINGS, MostRecent, Recorded
from starcast.runtime.nvidia.tensorrt.flavours import error_log

MOST_SHAPES = 16  # combinations whose contexts and CUDA graphs are kept

Shapes = tuple[tuple[int, ...], ...]  # of the inputs, in their order


@dataclass(frozen=True)
class Binding:
    """An input or output of the engine, and the shapes that it was built for; `usual`: the one it was tuned for."""

    name: str
    dtype: np.dtype[Any]
    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the largest shape."""
        return math.prod(self.largest) * self.dtype.itemsize

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.largest) and all(
            low <= size <= high for low, size, high in zip(self.smallest, shape, self.largest, strict=True)
        )


def deserialise(trt: Any, engine: bytes, driver: Driver, name: str, kernels: bytes | None = None) -> Execution:
    """Load an engine, ready for `bind`. `kernels`: what `Execution.kernels` returned at an earlier start.

    Call it within the driver's context. Raises EngineError.
    """
    log = error_log(trt)
    try:
        runtime = trt.Runtime(log)
    except TypeError as error:  # raised by the bindings where CUDA does not start
        raise EngineError(
            f"{trt.__name__} {trt.__version__} does not start ({one_line(log.first_error())}): see `starcast doctor`"
        ) from error
    held = runtime.deserialize_cuda_engine(engine)
    if held is None:
        raise EngineError(
            f"{name} is refused by {trt.__name__} {trt.__version__} ({one_line(log.first_error())}): build it again"
        )
    kind = _SelfRecording if hasattr(trt, "CudaGraphStrategy") else _Recording
    execution = kind(trt, log, runtime, held, driver, name)
    del (
        runtime,
        held,
    )  # a stored traceback would keep these locals alive: the library would outlive the driver's context
    try:
        execution.start(kernels)
    except BaseException:
        execution.close()
        raise
    return execution


class Execution(ABC):
    """A loaded engine with its inputs and its output. `launch` reads and writes the addresses given to `bind`."""

    def __init__(self, trt: Any, log: Any, runtime: Any, engine: Any, driver: Driver, name: str) -> None:
        self._trt = trt
        self._log = log  # kept alive here: the library holds only its address
        self._runtime = runtime
        self._engine = engine
        self._driver = driver
        self._name = name
        self._addresses: dict[str, int] = {}
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        taken = [one for one in names if engine.get_tensor_mode(one) == trt.TensorIOMode.INPUT]
        self.inputs = tuple(self._input(one) for one in taken)
        [self._given] = [one for one in names if one not in taken]

    @property
    def output(self) -> Binding:
        """The output for the largest inputs; its other shapes are not used."""
        largest = self.output_shape(tuple(one.largest for one in self.inputs))
        return Binding(self._given, np.dtype(self._kind(self._given)), largest, largest, largest)

    @abstractmethod
    def start(self, kernels: bytes | None) -> None:
        """Allocate what it needs on the GPU. Call it once, before anything else; if it fails, call `close`."""

    def bind(self, addresses: dict[str, int]) -> None:
        """Set the addresses of all inputs and the output for good. Call it once, before `launch`."""
        self._addresses = addresses

    def output_shape(self, shapes: Shapes) -> tuple[int, ...]:
        """The output's shape for inputs of these shapes, which must fit."""
        return tuple(self._context(shapes).get_tensor_shape(self._given))

    @abstractmethod
    def launch(self, shapes: Shapes, stream: int) -> None:
        """Queue a run in a stream. Raises EngineError."""

    def kernels(self) -> bytes | None:
        """The kernels it compiled for this GPU, to store for the next start; None if there are none."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Free what it holds. Call it within the driver's context, once nothing is running."""

    @abstractmethod
    def _context(self, shapes: Shapes) -> Any:
        """An execution context for these shapes."""

    def _input(self, name: str) -> Binding:
        smallest, usual, largest = map(tuple, self._engine.get_tensor_profile_shape(name, 0))
        return Binding(name, np.dtype(self._kind(name)), smallest, usual, largest)

    def _kind(self, name: str) -> Any:
        return self._trt.nptype(self._engine.get_tensor_dtype(name))

    def _create_context(self, *settings: Any) -> Any:
        context = self._engine.create_execution_context(*settings)
        if context is None:
            raise self._failure("made no execution context", "end other programs that use the GPU, or build it again")
        # engines carry the names of their layers, and reporting them to a profiler costs time at each launch
        context.nvtx_verbosity = self._trt.ProfilingVerbosity.NONE
        return context

    def _set(self, context: Any, shapes: Shapes) -> None:
        for one, shape in zip(self.inputs, shapes, strict=True):
            if not context.set_input_shape(one.name, shape):
                raise self._failure(f"takes no {one.name} of shape {list(shape)}", "build it again for that shape")

    def _point(self, context: Any) -> None:
        for name, address in self._addresses.items():
            if not context.set_tensor_address(name, address):
                raise self._failure(f"takes no address for {name}", "build it again")

    def _run(self, context: Any, stream: int) -> None:
        if not context.execute_async_v3(stream):
            raise self._failure("does not run", "try a smaller batch, or another --backend")

    def _failure(self, what: str, then: str) -> EngineError:
        return EngineError(f"{self._name} {what} in {self._trt.__name__} ({one_line(self._log.first_error())}): {then}")


class _SelfRecording(Execution):
    """TensorRT for RTX: a single context, because each uses much host memory."""

    _only: Any = None
    _cache: Any = None
    _settings: Any = None
    _shapes: Shapes | None = None

    def start(self, kernels: bytes | None) -> None:
        trt = self._trt
        self._settings = self._engine.create_runtime_config()
        if all(one.smallest[1:] == one.largest[1:] for one in self.inputs):
            # Only the batch varies, so there are few shapes: each waits once for its specialised kernels, which are
            # then stored. By default they are compiled during the first runs, and a short process would end before any
            # is ready.
            strategies = trt.DynamicShapesKernelSpecializationStrategy
            self._settings.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        self._cache = self._settings.create_runtime_cache()
        if kernels is not None:
            self._cache.deserialize(kernels)  # false for another GPU or release: new ones are then compiled
        self._settings.set_runtime_cache(self._cache)
        self._settings.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._only = self._create_context(self._settings)

    def bind(self, addresses: dict[str, int]) -> None:
        super().bind(addresses)
        self._point(self._only)

    def launch(self, shapes: Shapes, stream: int) -> None:
        with RECORDING:  # the library records whenever it chooses to
            self._run(self._context(shapes), stream)

    def kernels(self) -> bytes | None:
        held = self._cache.serialize()
        return None if held is None else bytes(held)

    def close(self) -> None:
        # in this order: each needs the one after it
        self._only = self._cache = self._settings = self._engine = self._runtime = None

    def _context(self, shapes: Shapes) -> Any:
        if shapes != self._shapes:
            self._shapes = None  # if an input is refused, those before it are already set
            self._set(self._only, shapes)
            self._shapes = shapes
        return self._only


@dataclass
class _Context:
    """An execution context of fixed shapes, whether its addresses are set, and the CUDA graph recorded from it."""

    held: Any
    pointed: bool = False
    graph: int | None = None


class _Recording(Execution):
    """TensorRT proper: a context for every combination of shapes, because a CUDA graph is valid only until the context
    that it was recorded from changes. The contexts share their scratch memory: one runs at a time."""

    def __init__(self, trt: Any, log: Any, runtime: Any, engine: Any, driver: Driver, name: str) -> None:
        super().__init__(trt, log, runtime, engine, driver, name)
        self._scratch = self._scratch_bytes = 0
        self._contexts: MostRecent[Shapes, tuple[_Context, Recorded[[int], None]]]
        self._contexts = MostRecent(MOST_SHAPES, partial(_drop_graph, driver))

    def start(self, kernels: bytes | None) -> None:
        size = int(self._engine.device_memory_size_v2)
        if size:
            self._scratch, self._scratch_bytes = self._driver.allocate(size), size

    def launch(self, shapes: Shapes, stream: int) -> None:
        _, launch = self._of(shapes)
        launch(stream)

    def close(self) -> None:
        self._contexts.clear()
        self._engine = self._runtime = None
        if self._scratch:
            self._driver.free(self._scratch)
            self._scratch = 0

    def _context(self, shapes: Shapes) -> Any:
        context, _ = self._of(shapes)
        return context.held

    def _of(self, shapes: Shapes) -> tuple[_Context, Recorded[[int], None]]:
        return self._contexts.get(shapes, lambda: self._make_context(shapes))

    def _make_context(self, shapes: Shapes) -> tuple[_Context, Recorded[[int], None]]:
        held = self._create_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if self._scratch:
            held.set_device_memory(self._scratch, self._scratch_bytes)
        self._set(held, shapes)
        context = _Context(held)
        launch = Recorded(
            partial(self._run_plainly, context), partial(self._record, context),
            attempts=RECORDINGS if self._driver.captures else 0,
        )  # fmt: skip
        return context, launch

    def _run_plainly(self, context: _Context, stream: int) -> None:
        if not context.pointed:  # not earlier: an output's shape is queried before the addresses are known
            self._point(context.held)
            context.pointed = True
        self._run(context.held, stream)

    def _record(self, context: _Context, stream: int) -> Callable[[int], None] | None:
        """Record one run as a CUDA graph. Returns a function that launches it; None if the run cannot be recorded."""
        try:
            graph = self._driver.record_graph(stream, lambda: self._run(context.held, stream))
        except EngineError:
            self._log.said = []  # not a failure: a plain run follows
            return None
        context.graph = graph
        return partial(self._driver.launch_graph, graph)


def _drop_graph(driver: Driver, dropped: tuple[_Context, Recorded[[int], None]]) -> None:
    context, _ = dropped
    if context.graph is not None:
        driver.destroy_graph(context.graph)
