"""Networks of one operation whose correct output is known: a convolution, and a norm over large values.

The convolution (y = w x) shows whether TensorRT builds, loads and runs anything on this GPU. The norm is of a
checkerboard of values whose squares exceed float16. It is checked as the export rewrites it for TensorRT, and in the
Triton kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.bench.rows import TORCH
from starcast.benchmarks.checks.check import (
    Figures,
    NotRunError,
    WrongError,
    relative_error,
    require_engine,
    require_errors_within,
    require_torch_gpu,
)
from starcast.errors import EngineError
from starcast.runtime.engines.base import EngineOptions, Graph, Session
from starcast.runtime.engines.registry import find_engine
from starcast.runtime.nvidia.driver import Driver
from starcast.runtime.nvidia.first_gpu import open_driver
from starcast.runtime.nvidia.tensorrt.execution import deserialise
from starcast.runtime.nvidia.tensorrt.flavours import FLAVOURS
from starcast.runtime.nvidia.tensorrt.session import TensorRTSession

CHANNELS, SIDE = 8, 64
PLANES = f"[batch, {CHANNELS}, height, width]"
PROBE = f"""
<ir_version: 8, opset_import: ["": 18]>
probe (KIND{PLANES} x) => (KIND{PLANES} y) {{ y = Conv (x, w) }}
"""
KINDS = {"float16": "float16", "float32": "float"}  # NumPy's name -> ONNX's
Sizes = tuple[tuple[int, int], tuple[int, int]]  # the smallest and the largest (batch, side)


def accepts(flavour: str, target: str | None, folder: Path) -> Figures:
    """Check that the flavour builds an engine, loads it, and runs it correctly, both directly and as a CUDA graph."""
    weights = draw(0, CHANNELS, CHANNELS, 1, 1)
    with open_tensorrt(flavour, write_probe(folder, weights), target, ((1, SIDE), (4, SIDE))) as session:
        x = draw(1, 2, CHANNELS, SIDE, SIDE)
        expected = np.einsum("oi,nihw->nohw", weights[:, :, 0, 0].astype(np.float64), x.astype(np.float64))
        errors = [relative_error(session.run({"x": x}), expected) for _ in range(5)]
    if not all(error <= 5e-3 for error in errors):  # also catches NaN
        raise WrongError(f"wrong numbers, over 0.005 of the largest: {', '.join(f'{error:.2g}' for error in errors)}")
    return {"error": max(errors)}


def write_probe(folder: Path, weights: NDArray[Any]) -> Path:
    """Write the layer as an ONNX file, in the weights' type."""
    from onnx import numpy_helper, parser

    model = parser.parse_model(PROBE.replace("KIND", KINDS[weights.dtype.name]))
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    file = folder / "probe.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def draw(seed: int, *shape: int) -> NDArray[np.float16]:
    """Normal random numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16)


def build_engine(flavour: str, graph: Path, target: str | None, sizes: Sizes) -> bytes:
    """Build a TensorRT engine of a graph whose input is x. Raises EngineError."""
    from starcast.runtime.nvidia.tensorrt.compiler import compile_engine
    from starcast.runtime.nvidia.tensorrt.messages import Request

    smallest, largest = ((batch, CHANNELS, side, side) for batch, side in sizes)
    request = Request(
        flavour=flavour, graph=str(graph), output="", inputs={"x": (smallest, largest, largest)},
        target=target if FLAVOURS[flavour].ahead_of_time else None,
    )  # fmt: skip
    engine, _ = compile_engine(FLAVOURS[flavour].load(), request)
    return bytes(engine)


@contextmanager
def open_tensorrt(flavour: str, graph: Path, target: str | None, sizes: Sizes) -> Iterator[TensorRTSession]:
    """Build a graph and open it. Raises NotRunError if the flavour is absent, or refuses the graph or GPU."""
    require_engine(flavour)
    driver: Driver = open_driver()
    try:
        with driver.active():
            engine = build_engine(flavour, graph, target, sizes)
            execution = deserialise(FLAVOURS[flavour].load(), engine, driver, graph.name)
            session = TensorRTSession(graph.name, "starcast build BUNDLE", execution, driver, None)
    except EngineError as error:
        driver.close()
        raise NotRunError(f"refused: {error}") from error
    try:
        yield session
    finally:
        session.close()


@contextmanager
def open_session(engine: str, graph: Path) -> Iterator[Session]:
    """Open a float32 graph on a GPU engine other than TensorRT. Raises NotRunError if the engine is absent."""
    if engine == TORCH:
        require_torch_gpu()  # without a GPU this engine would run on the CPU
    else:
        require_engine(engine)
    session = find_engine(engine).open(Graph(graph), EngineOptions())
    try:
        yield session
    finally:
        session.close()


LARGE = 512.0  # its square is four times the largest float16
NORM = f"""
<ir_version: 8, opset_import: ["": 18]>
norm (float16{PLANES} x) => (float{PLANES} y) {{
    n = InstanceNormalization <epsilon = 0.00001> (x, gamma, beta)
    l = LeakyRelu <alpha = 0.2> (n)
    y = Cast <to = 1> (l)
}}
"""
GAMMA, BETA = np.linspace(0.5, 2, CHANNELS).astype(np.float32), np.linspace(-1, 1, CHANNELS).astype(np.float32)


def checkerboard_engine(flavour: str, folder: Path) -> Figures:
    """Check the norm in float16 on TensorRT, rewritten as the export does."""
    expected = checkerboard_truth()
    errors = {}
    for statistics in ("one-pass", "two-pass"):
        with open_tensorrt(flavour, write_norm(folder, statistics), "current", ((1, SIDE), (1, SIDE))) as session:
            errors[statistics] = relative_error(session.run({"x": checkerboard()}), expected)
    return require_errors_within(errors, 2e-3)


def checkerboard_kernel(folder: Path) -> Figures:
    """Check the norm by the Triton kernel, in both memory formats, to one unit in the last place of the type."""
    torch = require_torch_gpu()
    from starcast.train.adain import adain_leaky_relu

    errors = {}
    for kind, unit in ((torch.float16, 2**-10), (torch.bfloat16, 2**-7), (torch.float32, 2e-6)):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.from_numpy(checkerboard()).cuda().to(kind).contiguous(memory_format=layout)
            scale, shift = (torch.from_numpy(array).cuda() for array in (GAMMA, BETA))
            y = adain_leaky_relu(x, scale, shift, implementation="triton").float().cpu().numpy()
            errors[f"{kind} {layout}"] = relative_error(y, checkerboard_truth()) / unit
    return require_errors_within(errors, 1.0)


def checkerboard() -> NDArray[np.float16]:
    """[1, C, S, S]: +512 and -512 in turn. Mean 0, standard deviation 512."""
    rows, columns = np.indices((SIDE, SIDE))
    board = np.where((rows + columns) % 2, -LARGE, LARGE)
    return np.broadcast_to(board, (1, CHANNELS, SIDE, SIDE)).astype(np.float16)


def checkerboard_truth() -> NDArray[np.float64]:
    """Norm, scale, shift and leaky ReLU of the checkerboard, in float64."""
    normalised = checkerboard().astype(np.float64) / math.sqrt(LARGE**2 + 1e-5)
    y = normalised * GAMMA.astype(np.float64)[:, None, None] + BETA.astype(np.float64)[:, None, None]
    return np.where(y < 0, 0.2 * y, y)


def write_norm(folder: Path, statistics: str) -> Path:
    """Write the norm in float16 as an ONNX file, rewritten as the export does."""
    import onnx_ir as ir
    from onnx import numpy_helper, parser

    from starcast.export.passes.norm_decomposition import decompose_norms

    proto = parser.parse_model(NORM)
    for name, weight in (("gamma", GAMMA), ("beta", BETA)):
        proto.graph.initializer.append(numpy_helper.from_array(weight, name))
    model = ir.from_proto(proto)
    for node in model.graph:
        node.name = node.outputs[0].name
        if node.op_type != "Cast":
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    decompose_norms(model, SIDE, {"n": statistics})  # type: ignore[dict-item]
    file = folder / f"norm-{statistics}.onnx"
    ir.save(model, file)
    return file
