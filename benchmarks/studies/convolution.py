"""How fast is one convolution on an engine? The rate of a whole network on it is compared with this.

    python -m starcast.benchmarks.studies.convolution ENGINE PRECISION THREADS

One 3x3 convolution runs alone, in shapes that the network has. FLOP are counted as in `export/graphs/cost.py`, so an
engine that needs fewer multiplications (Winograd) may exceed the CPU's peak rate.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.rows import PYTORCH
from starcast.benchmarks.bench.worker import quiet_environment, reason_in
from starcast.errors import EngineError, OptionError

SHAPES = ((512, 16), (512, 32), (256, 64), (128, 128), (64, 256))  # channels in and out, side
SECONDS, RUNS = 0.4, 5  # per shape, whichever takes longer
PRECISIONS = ("fp32", "bf16")

Floats = NDArray[np.float32]
Call = Callable[[], object]


@dataclass(frozen=True)
class Rate:
    """The best rate of an engine, and the shape that reached it."""

    gflop_per_s: float
    channels: int
    side: int


def measure_rate_apart(engine: str, precision: str, threads: int) -> Rate:
    """Measure the best rate in a fresh process. Raises EngineError with the reason if that fails."""
    command = [sys.executable, "-m", "starcast.benchmarks.studies.convolution", engine, precision, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet_environment(threads))
    if done.returncode:
        raise EngineError(reason_in(done.stderr, done.returncode))
    return Rate(**json.loads(done.stdout.splitlines()[-1]))


def measure_rate(engine: str, precision: str, threads: int) -> Rate:
    """The best rate over the shapes, from the shortest run of each."""
    with TemporaryDirectory() as folder:
        rates = []
        for channels, side in SHAPES:
            call = _convolution(engine, precision, threads, channels, side, Path(folder))
            rates.append(Rate(round(flop_of(channels, side) / least_seconds(call) / 1e9, 2), channels, side))
    return max(rates, key=lambda rate: rate.gflop_per_s)


def flop_of(channels: int, side: int) -> int:
    """FLOP of the convolution: two per multiply-add, including taps beyond the border."""
    return 2 * 9 * channels * channels * side * side


def least_seconds(call: Call, clock: Callable[[], float] = time.perf_counter) -> float:
    """The shortest of several runs, after a warm-up."""
    call()
    least, begun, runs = float("inf"), clock(), 0
    while runs < RUNS or clock() - begun < SECONDS:
        start = clock()
        call()
        least, runs = min(least, clock() - start), runs + 1
    return least


def _convolution(engine: str, precision: str, threads: int, channels: int, side: int, folder: Path) -> Call:
    draws = np.random.default_rng(0)
    weight = draws.standard_normal((channels, channels, 3, 3)).astype(np.float32) / np.float32(channels)
    image = draws.standard_normal((1, channels, side, side)).astype(np.float32)
    if engine == PYTORCH:
        return _with_pytorch(precision, threads, weight, image)
    if engine in ("ncnn", "ncnn-vulkan"):
        return _with_ncnn(engine, threads, weight, image, folder)
    return _with_onnx(engine, precision, threads, weight, image, folder)


def _with_pytorch(precision: str, threads: int, weight: Floats, image: Floats) -> Call:
    import torch

    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    kernel, source = (
        torch.from_numpy(array).to(dtype).contiguous(memory_format=torch.channels_last) for array in (weight, image)
    )

    @torch.inference_mode()
    def run() -> object:
        return torch.conv2d(source, kernel, padding=1)

    return run


def _with_onnx(engine: str, precision: str, threads: int, weight: Floats, image: Floats, folder: Path) -> Call:
    import onnx

    from starcast.runtime.engines.base import EngineOptions, Graph
    from starcast.runtime.engines.registry import ENGINES

    shape = list(image.shape)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], "convolution",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    file = folder / f"{shape[1]}x{shape[2]}.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)]), file)
    session = ENGINES[engine].open(Graph(file, precision=precision), EngineOptions(threads=threads))
    return lambda: session.run({"x": image})


def _with_ncnn(engine: str, threads: int, weight: Floats, image: Floats, folder: Path) -> Call:
    """Write two layers in ncnn's text form. ncnn's docs/developer-guide/operators.md explains the numbers."""
    from starcast.runtime.engines.ncnn import engine as package

    if engine != "ncnn":
        raise OptionError(f"{engine} is not measured here: measure ncnn")
    channels = weight.shape[0]
    text, weights = folder / f"{channels}.param", folder / f"{channels}.bin"
    convolution = f"Convolution convolution 1 1 x y 0={channels} 1=3 4=1 6={weight.size}"
    text.write_text(f"7767517\n2 2\nInput x 0 1 x\n{convolution}\n")
    weights.write_bytes(b"\0\0\0\0" + weight.tobytes())  # float32
    ncnn: Any = package()
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.openmp_blocktime = 0
    for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{half}", False)
    if net.load_param(str(text)) or net.load_model(str(weights)):
        raise EngineError("ncnn refuses the convolution")
    source = ncnn.Mat(image[0])

    def run() -> object:
        extractor = net.create_extractor()
        extractor.input("x", source)
        return extractor.extract("y")

    return run


if __name__ == "__main__":
    rate = measure_rate(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stdout.write(json.dumps(dataclasses.asdict(rate)) + "\n")
