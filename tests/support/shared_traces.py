"""Graphs of checkpoints that several tests export: PyTorch's exporter takes seconds for the smallest network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir
import pytest

from starcast.export import source
from starcast.export.families.model import Model, StyleGraph


@contextmanager
def traces_shared_in(folder: Path) -> Iterator[None]:
    """Within the block, the networks of a checkpoint that was exported before are read from `folder`, which processes
    may share. A checkpoint is known by its content."""
    folder.mkdir(exist_ok=True)
    hash_of, trace_frame, trace_style_graph = source.hash_of, source.trace_frame, source.trace_style_graph
    checkpoint = ""

    def remember(path: Path) -> str:
        nonlocal checkpoint
        checkpoint = hash_of(path)
        return checkpoint

    def once(name: str, trace: Callable[[], ir.Model]) -> ir.Model:
        file = folder / f"{checkpoint}-{name}.onnx"
        if file.exists():
            return ir.load(file)
        model = trace()
        partial = file.with_suffix(f".{os.getpid()}")
        ir.save(model, partial, format="protobuf")
        partial.replace(file)
        return model

    def frame(model: Model) -> ir.Model:
        return once("frame", lambda: trace_frame(model))

    def style(graph: StyleGraph) -> ir.Model:
        return once(Path(graph.file).stem, lambda: trace_style_graph(graph))

    with pytest.MonkeyPatch.context() as patch:
        for name, function in {"hash_of": remember, "trace_frame": frame, "trace_style_graph": style}.items():
            patch.setattr(source, name, function)
        yield
