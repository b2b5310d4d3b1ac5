"""A norm over a checkerboard whose squares exceed float16, in TensorRT's spelling and in the Triton kernel."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.benchmarks.checks.check import Figures, relative_error, require_errors_within, require_torch_gpu
from starcast.benchmarks.checks.probe import CHANNELS, PLANES, SIDE, open_tensorrt

LARGE = 512.0  # squared it is four times what float16 holds
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
    """The norm in float16, written as the export writes it."""
    expected = checkerboard_truth()
    errors = {}
    for statistics in ("one-pass", "two-pass"):
        with open_tensorrt(flavour, write_norm(folder, statistics), "current", ((1, SIDE), (1, SIDE))) as session:
            errors[statistics] = relative_error(session.run({"x": checkerboard()}), expected)
    return require_errors_within(errors, 2e-3)


def checkerboard_kernel(folder: Path) -> Figures:
    """The norm by the Triton kernel, in both memory formats, to one unit in the last place of the type."""
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
    """Write the norm in float16 as an ONNX file, spelled as the export spells it."""
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
