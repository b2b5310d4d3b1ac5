"""Writes ONNX files with metadata, and with their weights inside or in a file that several graphs share.

Graphs refer to the shared file as ONNX external data. It stores tensors with equal bytes once: two forms of a generator
have most of their convolutions in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir

from starcast import __version__
from starcast.utf8 import utf8_path

WEIGHTS = ".data"  # suffix of the shared files
SMALLEST = 1024  # bytes; smaller tensors stay in the graphs, where shape inference may need them
ALIGNMENT = 4096  # engines map the file into memory by pages


def write_graph(
    model: ir.Model, path: Path, facts: Mapping[str, str], weights: SharedWeights | None = None
) -> tuple[Path, ...]:
    """Write an ONNX file, with `facts` as its metadata, and run ONNX's own checker on it.

    Returns the files beside it that hold its weights.
    """
    model.producer_name, model.producer_version = "starcast", __version__
    model.metadata_props.update({"role": str(model.graph.name), **facts})
    if weights is None:
        ir.save(model, path)
    beside = () if weights is None else weights.write(model, path)
    with utf8_path(path) as named:
        onnx.checker.check_model(str(named), full_check=True)
    return beside


class SharedWeights:
    """A file of tensors that grows as graphs are written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}  # hash -> offset, length

    def write(self, model: ir.Model, graph: Path) -> tuple[Path, ...]:
        """Write a graph beside the weights' file, and its large tensors into that file.

        The model in memory then reads them from that file too. Returns the files that the graph reads: this one, or
        none if it has no large tensors.
        """
        if graph.parent != self.path.parent:
            raise ValueError(f"{graph} is not beside {self.path}: a graph finds its weights in its own folder")
        placed = False
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= SMALLEST:
                value.const_value = self._place(tensor)
                placed = True
        ir.save(model, graph)
        return (self.path,) if placed else ()

    def _place(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        array = tensor.numpy()
        content = array.tobytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._places:
            with self.path.open("ab") as file:
                file.write(bytes(-file.tell() % ALIGNMENT))
                self._places[digest] = file.tell(), len(content)
                file.write(content)
        offset, length = self._places[digest]
        return ir.ExternalTensor(
            self.path.name, offset, length, tensor.dtype, shape=ir.Shape(array.shape), name=tensor.name or "",
            base_dir=self.path.parent,
        )  # fmt: skip
