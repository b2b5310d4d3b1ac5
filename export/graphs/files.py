"""Graphs on the disk: ONNX files that say what they are, with weights inside or shared beside them; and ncnn's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir

from starcast import __version__
from starcast.export.graphs.weights import SharedWeights
from starcast.export.targets.ncnn_graph import WEIGHTS, ncnn_model


def write_graph(
    model: ir.Model, path: Path, facts: Mapping[str, str], weights: SharedWeights | None = None
) -> tuple[Path, ...]:
    """Write an ONNX file and have the format's own checker read it. `facts` become its metadata. Gives the files beside
    it that its weights are in."""
    model.producer_name, model.producer_version = "starcast", __version__
    model.metadata_props.update({"role": str(model.graph.name), **facts})
    if weights is None:
        ir.save(model, path)
    beside = () if weights is None else weights.write(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    return beside


def write_ncnn(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write ncnn's two files, PATH (.param) and the weights beside it, whose path it gives. Raises EngineError for an
    unknown node."""
    written = ncnn_model(model)
    path.write_text(written.param, encoding="utf-8", newline="\n")
    weights = path.with_suffix(WEIGHTS)
    weights.write_bytes(written.weights)
    return (weights,)
