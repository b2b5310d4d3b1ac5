"""ONNX files: they say what they are, and their weights are inside, or shared in a file beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir

from starcast import __version__
from starcast.export.graphs.weights import SharedWeights


def write_graph(
    model: ir.Model, path: Path, facts: Mapping[str, str], weights: SharedWeights | None = None
) -> tuple[Path, ...]:
    """Write an ONNX file, with `facts` as its metadata, and have the format's own checker read it.

    Returns the files beside it that hold its weights.
    """
    model.producer_name, model.producer_version = "starcast", __version__
    model.metadata_props.update({"role": str(model.graph.name), **facts})
    if weights is None:
        ir.save(model, path)
    beside = () if weights is None else weights.write(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    return beside
