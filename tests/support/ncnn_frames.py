"""Frame graphs between bytes, and what ncnn gives for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from small_graphs import graph

from starcast.export.targets.ncnn import PARAM, WEIGHTS, ncnn_model
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.ncnn import NcnnSession
from starcast.runtime.engines.registry import ENGINES


def frame(nodes: str, **constants: Any) -> ir.Model:
    """Nodes x [N, 3, H, W], gamma_beta [M, 6] -> y between bytes, as a generator's are."""
    edges = (
        "pixels = Cast <to = 1> (image)  x = Transpose <perm = [0, 3, 1, 2]> (pixels)  {}  whole = Round (y)  "
        "clipped = Clip (whole, low, high)  rows = Transpose <perm = [0, 2, 3, 1]> (clipped)  "
        "translation = Cast <to = 2> (rows)"
    )
    model = graph(
        edges.format(nodes), "uint8[batch, height, width, 3] image, float[styles, 6] gamma_beta",
        "uint8[batch, height, width, channels] translation",
        low=np.array(0.0), high=np.array(255.0), **constants,
    )  # fmt: skip
    if len(model.graph.inputs) == 1:
        unread = ir.Value(name="gamma_beta", shape=ir.Shape(["styles", 6]), type=ir.TensorType(ir.DataType.FLOAT))
        model.graph.inputs.append(unread)
    return model


def ncnn_session(model: ir.Model, folder: Path, engine: str = "ncnn", threads: int = 1) -> NcnnSession:
    """The graph in ncnn; the test is skipped where that is not here."""
    reason = ENGINES[engine].absent()
    if reason is not None:
        pytest.skip(f"{engine} is {reason}")
    written = ncnn_model(model)
    file = folder / f"graph{PARAM}"
    file.write_text(written.param)
    weights = file.with_suffix(WEIGHTS)
    weights.write_bytes(written.weights)
    session = ENGINES[engine].open(Graph(file, weights=(weights,)), EngineOptions(threads=threads))
    assert isinstance(session, NcnnSession)
    return session


def images(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Noise of every level."""
    return np.random.RandomState(3).randint(0, 256, (count, height, width, 3)).astype(np.uint8)


def scales_and_shifts(count: int, width: int = 6) -> NDArray[np.float32]:
    """Around 1, as scales are."""
    return (1 + np.random.RandomState(4).standard_normal((count, width)) / 4).astype(np.float32)
