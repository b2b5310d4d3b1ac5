"""What an export starts from, a checkpoint's model and its traced graphs, and how it shows progress."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from starcast.errors import printable
from starcast.export.families import complete, open_model
from starcast.export.families.model import Model
from starcast.export.options import ExportOptions
from starcast.export.trace import trace_frame, trace_style_graph
from starcast.train.checkpoint.content import Checkpoint
from starcast.train.checkpoint.file import hash_of, read_checkpoint
from starcast.utf8 import escape, is_utf8

Progress = Callable[[str], None]

COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}  # by number of channels


@contextmanager
def stage(progress: Progress, done: str) -> Iterator[None]:
    """Show that a stage is done, and how long it took."""
    start = time.perf_counter()
    yield
    progress(f"{done} ({time.perf_counter() - start:.1f} s)")


@dataclass(frozen=True)
class Source:
    """A checkpoint, its model, and its traced graphs: `frame` translates, `styles` (by file name) make styles.

    The frame graph is never changed: targets rewrite copies of it.
    """

    checkpoint: Checkpoint
    sha256: str
    model: Model
    frame: ir.Model
    styles: Mapping[str, ir.Model]

    @property
    def data(self) -> str | None:
        """The path of the training set."""
        return (self.checkpoint.dataset or {}).get("path")

    @property
    def facts(self) -> dict[str, str]:
        """The metadata of every ONNX file."""
        model = self.model
        return {
            "family": model.family,
            "domains": json.dumps(model.domains, ensure_ascii=False),
            "image_size": str(model.side),
            **({} if model.stride is None else {"stride": str(model.stride)}),
            "style_dim": str(model.style_size),
            **model.facts,
            "pictures": f"uint8 NHWC {COLOURS[model.channels]}, 0..255",
            "checkpoint_sha256": self.sha256,
        }


def read_source(path: Path, options: ExportOptions, progress: Progress) -> Source:
    """Read a checkpoint and trace its networks. Raises CheckpointError and OptionError."""
    with stage(progress, f"read {path}"):
        checkpoint = complete(read_checkpoint(path), options)
        names = checkpoint.domain_names
        model = open_model(checkpoint, escape(names))
        digest = hash_of(path)
    for name in model.domains and names:
        if not is_utf8(name):
            shown = printable(name)
            progress(f"A domain's name is not valid UTF-8: the bundle calls it {shown}")
    if checkpoint.note:
        progress(checkpoint.note)
    with stage(progress, "traced the networks"):
        frame = trace_frame(model)
        styles = {graph.file: trace_style_graph(graph) for graph in model.style_graphs()}
    return Source(checkpoint, digest, model, frame, styles)
