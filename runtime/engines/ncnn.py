"""ncnn on the CPU, and on GPUs through Vulkan.

An ncnn graph is two files, NAME.param and NAME.bin (export/targets/ncnn.py writes them). It makes one image at a time
and stops before rounding: batching, rounding and conversion to bytes happen here. The bundle's other graphs, which make
styles, are ONNX: NumPy runs those of a few matrix products, and another engine the rest, once per style.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache as once
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from starcast.errors import EngineError, MissingExtraError
from starcast.runtime.bundle import Bundle
from starcast.runtime.engines.base import (
    Absence,
    Arrays,
    Engine,
    EngineOptions,
    Graph,
    Session,
    changed_environment,
    closed_error,
    one_line,
    package_absence,
    shown,
)
from starcast.runtime.engines.forks import AfterFork
from starcast.runtime.engines.ncnn_arena import Arena, block_size, make_allocator
from starcast.runtime.engines.ncnn_graph import IMAGE, OUTPUT, NcnnGraph, read_graph
from starcast.runtime.engines.ncnn_layers import NcnnGraphError
from starcast.runtime.engines.ncnn_memory import held_bytes, make_pool, trim_heap, with_small_kernels
from starcast.runtime.engines.numpy_graph import open_in_numpy
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.openvino import OpenVINO
from starcast.runtime.manifest_bounds import CHANNELS, Shape
from starcast.runtime.stages import submit
from starcast.runtime.variants import Variant
from starcast.utf8 import utf8_path

Result = TypeVar("Result")

_SPIN = "OMP_WAIT_POLICY"
_NO_IMAGE = (1, 1)
_capturing = threading.Lock()

GRAPH_SUFFIX = ".param"  # of ncnn graphs


@once
def engine() -> ModuleType:
    """Import the package ncnn. Raises ImportError.

    By default its threads spin while they wait, and take the cores from the threads that decode and encode. The library
    reads the setting from the environment once, when it loads.
    """
    with changed_environment(_SPIN, "passive"):
        return importlib.import_module("ncnn")


@contextmanager
def _capture_stderr() -> Iterator[list[str]]:
    """Capture the lines that ncnn's C++ prints within the block; the list has them when the block ends."""
    lines: list[str] = []
    # one block at a time: a second thread would take the first one's file for the screen
    with _capturing, tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        screen = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


@once
def _gpus() -> int:
    """The number of devices with a Vulkan driver. ncnn prints a description of each when first asked."""
    with _capture_stderr():
        return int(engine().get_gpu_count())


class Ncnn(Engine):
    """Opens ncnn's graphs, to run on the CPU."""

    name = "ncnn"
    extra = "ncnn"
    scratch = 2.9  # at 256 px its arena uses 145 MB, where the two largest neighbours are 50
    after_fork: AfterFork = "works in a new thread"  # OpenMP

    def absent(self) -> Absence | None:
        return package_absence(engine, "ncnn", "Net")

    def version(self) -> str:
        return str(engine().__version__)

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        return {"CPU": None}  # it reads no ONNX graphs, so there is nothing to try

    def held_memory(self, bundle: Bundle, variant: Variant) -> int:
        """The weights as ncnn stores them, once: the file's are freed. Opening a graph says what is wrong with it."""
        try:
            return held_bytes(read_graph(bundle.path / variant.file))
        except (NcnnGraphError, OSError):
            return super().held_memory(bundle, variant)

    def open(self, graph: Graph, options: EngineOptions) -> Session:
        self.note_use()
        path = graph.path
        if path.suffix != GRAPH_SUFFIX:
            return open_in_numpy(path) or _reader_of_onnx(path).open(graph, options)
        [weights] = graph.weights
        description = self._read(path, weights, options.memory)
        net, pool = engine().Net(), self._make_pool()
        self._configure(net, options)
        text = self._text(path, description)
        with _capture_stderr() as said:
            code = net.load_param_mem(text)
        if code != 0:
            raise self._refusal(path, " ".join(said) or f"code {code}")
        with utf8_path(weights) as named, _capture_stderr() as said:
            code = net.load_model(str(named))
        if code != 0:
            raise self._refusal(weights, " ".join(said) or f"code {code}")
        if pool is not None:  # only now, because the weights that some layers convert would be blobs of the pool
            net.opt.blob_allocator = net.opt.workspace_allocator = pool
        trim_heap()
        return NcnnSession(path, net, description, options.memory, pool)

    def _read(self, path: Path, weights: Path, memory: int | None) -> NcnnGraph:
        """A graph, checked before ncnn loads it. Raises EngineError."""
        try:
            graph = read_graph(path)
            graph.condition  # noqa: B018  raises if it is not a frame graph
            wanted = graph.weight_bytes
            if IMAGE not in graph.inputs:  # every shape is known
                _refuse_large(graph.largest_blobs(*_NO_IMAGE), memory)
        except (NcnnGraphError, OSError) as error:
            raise self._refusal(path, str(error)) from error
        size = weights.stat().st_size if weights.is_file() else 0
        if size != wanted or not weights.is_file():
            raise self._refusal(weights, f"it has {size} bytes instead of {wanted}")
        return graph

    def _text(self, path: Path, graph: NcnnGraph) -> str:
        """The text that ncnn loads."""
        return with_small_kernels(path.read_text(encoding="utf-8"), graph)

    def _make_pool(self) -> Any:
        return make_pool(engine())

    def _refusal(self, file: Path, reason: str) -> EngineError:
        return EngineError(
            f"{file} is refused by ncnn {self.version()} ({one_line(reason)}): export the bundle again, or update ncnn"
        )

    def _configure(self, net: Any, options: EngineOptions) -> None:
        """Set the threads, and float32 throughout, even where the CPU supports half types.

        Winograd's tiles of 6x6 outputs, which ncnn chooses for 16 and 32 channels, have errors six times as large as
        tiles of 4x4, and were no faster for a face model of 16 to 64 channels at 256 px.
        """
        threads = options.count_threads()
        if threads is not None:
            net.opt.num_threads = threads
        net.opt.use_winograd63_convolution = False
        net.opt.openmp_blocktime = 0  # milliseconds that an idle thread spins
        for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{half}", False)


class NcnnVulkan(Ncnn):
    """Opens ncnn's graphs, to run on the first GPU that has a Vulkan driver."""

    name = "ncnn-vulkan"
    after_fork = "never works"  # GPU drivers

    def absent(self) -> Absence | None:
        absence = super().absent()
        if absence is not None or _gpus():
            return absence
        return Absence("installed, but this machine has no Vulkan driver", pip_helps=False)

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        return {engine().get_gpu_info(index).device_name(): None for index in range(_gpus())}

    def held_memory(self, bundle: Bundle, variant: Variant) -> int:
        return Engine.held_memory(self, bundle, variant)  # shaders' kernels are stored in other ways

    def _text(self, path: Path, graph: NcnnGraph) -> str:
        return path.read_text(encoding="utf-8")  # shaders would be made for the shapes in the text alone

    def _make_pool(self) -> Any:
        return None  # blobs are in the GPU's memory, which has its own pools

    def _configure(self, net: Any, options: EngineOptions) -> None:
        super()._configure(net, options)
        net.opt.use_vulkan_compute = True
        with _capture_stderr():
            net.set_vulkan_device(0)


class NcnnSession(Session):
    """One loaded graph."""

    def __init__(self, path: Path, net: Any, graph: NcnnGraph, memory: int | None, pool: Any = None) -> None:
        self._graph = path
        self._memory = memory
        self._net = net
        self._pool = pool  # freed after the net, which uses it
        self._layers = graph
        self._condition, _ = graph.condition
        self._takes = graph.inputs
        self._checked: dict[tuple[int, int], int] = {}  # sizes of images whose blobs fit, and bytes of the largest two
        self._arena: Arena | None = None
        self._allocator: Any = None  # of the arena; freed after the net
        self._thread: ThreadPoolExecutor | None = None

    def run(self, feeds: Arrays) -> NDArray[Any]:
        return self._in_thread(feeds, self._rounded)

    def _rounded(self, feeds: Arrays) -> NDArray[np.uint8]:
        images = [np.clip(np.rint(levels), 0, 255).astype(np.uint8) for levels in self._levels(feeds)]
        return np.stack(images).transpose(0, 2, 3, 1)

    def unrounded(self, feeds: Arrays) -> NDArray[np.float32]:
        """The images before `run` rounds and clips them: float32 [N, C, H, W], possibly outside 0..255."""
        return self._in_thread(feeds, lambda feeds: np.stack([levels.copy() for levels in self._levels(feeds)]))

    def inputs(self) -> Mapping[str, Shape]:
        image = (None, None, None, CHANNELS)
        return {name: image if name == IMAGE else (None, *shape) for name, shape in self._takes.items()}

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        self._net = None
        self._pool = None
        self._allocator = self._arena = None

    def _in_thread(self, feeds: Arrays, call: Callable[[Arrays], Result]) -> Result:
        """Run `call`; for large images in another thread than the main one: see ncnn_arena.py."""
        self._refuse_unfit(feeds)
        height, width = _size(feeds)
        self._check(height, width)
        if self._block(height, width) is None or threading.current_thread() is not threading.main_thread():
            return call(feeds)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "starcast-ncnn")
        return submit(self._thread, call, feeds).result()

    def _block(self, height: int, width: int) -> int | None:
        """The size of the arena for images of that size; None where the pool is used: for small ones, and on GPUs."""
        return block_size(self._checked[height, width]) if self._pool is not None else None

    def _allocator_for(self, height: int, width: int) -> Any:
        """The allocator for images of that size: the arena's if they are large; None: the pool."""
        size = self._block(height, width)
        if size is None:
            return None
        if self._arena is None or self._arena.size < size:
            self._allocator = self._arena = None
            try:
                self._arena = Arena(size)
            except OSError:  # a limit on addresses: the pool takes less of them
                return None
            self._allocator = make_allocator(engine(), self._arena)
        return self._allocator

    def _levels(self, feeds: Arrays) -> Iterator[NDArray[np.float32]]:
        """Each image [C, H, W], valid until the next one."""
        if self._net is None:
            raise closed_error(self._graph)
        ncnn = engine()
        images = feeds[IMAGE] if IMAGE in self._takes else None
        others = [(name, feeds[name]) for name in self._takes if name != IMAGE]
        height, width = _size(feeds)
        allocator = self._allocator_for(height, width)
        for number in range(len(feeds[self._condition] if images is None else images)):
            extractor = self._net.create_extractor()
            if allocator is not None:
                extractor.set_blob_allocator(allocator)
                extractor.set_workspace_allocator(allocator)
            if images is not None:
                image = np.ascontiguousarray(images[number])
                pixels = ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_RGB, width, height)
                extractor.input(IMAGE, pixels)
            for name, values in others:
                own = np.ascontiguousarray(values[number % len(values)], np.float32)
                # cloned, because a Mat made from an array does not own its memory, which must live until then
                extractor.input(name, ncnn.Mat(own).clone())
            code, made = extractor.extract(OUTPUT)
            if code != 0:
                on = "" if images is None else f" on an image of {width}x{height}"
                remedy = "another --backend" if images is None else "a smaller one, or another --backend"
                raise EngineError(f"ncnn failed in {self._graph} (code {code}){on}: try {remedy}")
            yield np.asarray(made)

    def _refuse_unfit(self, feeds: Arrays) -> None:
        """Raise EngineError unless every input is there and has the graph's shape: ncnn would crash the process. Raise
        it also for an input that the graph does not take, which would have no effect."""
        self._refuse_other_shapes(feeds, self.inputs())
        for name in feeds.keys() - self._takes.keys():
            raise EngineError(
                f"ncnn cannot run {self._graph} with {name}, which it does not take: use the bundle that the graph "
                "belongs to"
            )
        if IMAGE in self._takes:  # the sides of further maps depend on the image's
            own = self._layers.inputs_at(*_size(feeds))
            self._refuse_other_shapes(feeds, {name: (None, *own[name]) for name in self._takes if name != IMAGE})

    def _refuse_other_shapes(self, feeds: Arrays, shapes: Mapping[str, Shape]) -> None:
        for name, wanted in shapes.items():
            has = feeds[name].shape if name in feeds else ()
            if len(has) == len(wanted) and all(length in (None, own) for own, length in zip(has, wanted, strict=True)):
                continue
            raise EngineError(
                f"ncnn cannot run {self._graph} with {name} of the shape {list(has)} (it takes {shown(wanted)}): "
                "use the bundle that the graph belongs to"
            )

    def _check(self, height: int, width: int) -> None:
        """Raise EngineError where ncnn would end the process on images of that size."""
        if (height, width) in self._checked:
            return
        try:
            largest = self._layers.largest_blobs(height, width)
            _refuse_large(largest, self._memory)
        except NcnnGraphError as error:
            raise EngineError(
                f"ncnn cannot run {self._graph} on an image of {width}x{height} ({error}): export the bundle again"
            ) from error
        self._checked[height, width] = largest


def _size(feeds: Arrays) -> tuple[int, int]:
    """Height and width of the images, on which the shapes of blobs depend; any numbers where there are none."""
    height, width = feeds[IMAGE].shape[1:3] if IMAGE in feeds else _NO_IMAGE
    return height, width


def _refuse_large(size: int, memory: int | None) -> None:
    """Raise NcnnGraphError if two blobs alone take more memory than may be used."""
    if memory is not None and size > memory:
        raise NcnnGraphError(f"it takes {size / 2**30:.1f} GiB of memory, and {memory / 2**30:.1f} may be used")


def _reader_of_onnx(graph: Path) -> Engine:
    """An available engine that reads ONNX."""
    readers: tuple[Engine, ...] = (OnnxRuntime(), OpenVINO())  # the first takes 20 MB less
    for backend in readers:
        if backend.absent() is None:
            return backend
    raise MissingExtraError(f"{graph} makes styles, and no engine for that is installed: pip install 'starcast[cpu]'")
