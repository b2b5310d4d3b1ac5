"""Runs PyTorch and engines on the same images, in the same units, and measures how far apart they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir import external_data
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import Tensor

from starcast.export.families.model import Model
from starcast.export.gate.reference import as_floats
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.ncnn import Ncnn, NcnnSession
from starcast.runtime.engines.onnxruntime import engine
from starcast.utf8 import utf8_path

onnxruntime = engine()  # here, so that an export without it fails before it begins
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """One run of the frame graph: sources uint8 [N, H, W, 3], styles float32 [N or 1, S].

    Without sources, images are made from styles float32 [N, layers, S], and from noise. `extra` has the graph's further
    inputs by name, in the network's order: noise float32 [N or 1, 1, h, w], or what a model makes of its sources.
    """

    sources: NDArray[np.uint8] | None
    styles: Floats
    extra: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """How many images are made at once."""
        return len(self.styles) if self.sources is None else len(self.sources)

    @property
    def feeds(self) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name."""
        return self.feeds_with("style", self.styles)

    def feeds_with(self, name: str, conditions: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name, with `conditions` as the input `name` instead of the styles."""
        images = {} if self.sources is None else {"image": self.sources}
        return {**images, name: conditions, **self.extra}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The inputs of the network in PyTorch."""
        styles = torch.from_numpy(self.styles)
        if self.sources is None:
            return (styles, *map(torch.from_numpy, self.extra.values()))
        extra = map(torch.from_numpy, self.extra.values())
        return as_floats(self.sources), styles.expand(len(self.sources), -1), *extra


def source_trial(model: Model, sources: NDArray[np.uint8], styles: Floats) -> Trial:
    """A trial of a model that translates, with the extra inputs that it makes of the sources."""
    return Trial(sources, styles, model.extras(sources))


class Candidate(Protocol):
    """A written variant, run as the runtime would run it."""

    def translate(self, trial: Trial) -> NDArray[np.uint8]:
        """The images, uint8 [N, H, W, C]."""

    def translate_unrounded(self, trial: Trial) -> Floats:
        """The images before the last Round, in grey levels, some outside 0..255: float32 [N, C, H, W]."""


class OnnxCandidate:
    """A frame graph in ONNX Runtime: the whole graph, and a copy cut before its last Round."""

    def __init__(self, graph: Path | ir.Model, product: Path | None = None, *, one_style: bool = False) -> None:
        """`product` turns styles into scales and shifts, for graphs that need those."""
        self._written, self._cut = open_session(graph), open_session(_cut_before_rounding(graph))
        self._product = open_session(product) if product is not None else None
        self._one_style = one_style

    def translate(self, trial: Trial) -> NDArray[np.uint8]:
        return self._run(self._written, trial)

    def translate_unrounded(self, trial: Trial) -> Floats:
        return self._run(self._cut, trial)

    def _run(self, session: Any, trial: Trial) -> NDArray[Any]:
        name, conditions = "style", trial.styles
        if self._product is not None:
            name, [conditions] = "gamma_beta", self._product.run(None, {"style": trial.styles})
        if not self._one_style or len(conditions) == 1:
            return _run_and_free(session, trial.feeds_with(name, conditions))
        assert trial.sources is not None
        alone = [
            {key: feed[k : k + 1] for key, feed in trial.feeds_with(name, conditions).items()}
            for k in range(trial.batch)
        ]
        return np.concatenate([_run_and_free(session, feed) for feed in alone])


def _run_and_free(session: Any, feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The only output of a session, which then frees what it keeps for the next run: with two sessions, and batches of
    three images of 1024 px, that is gigabytes."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    output: NDArray[Any] = session.run(None, feeds, options)[0]
    return output


class NcnnCandidate:
    """A variant in ncnn's own files, run by ncnn on the CPU."""

    def __init__(self, param: Path, weights: tuple[Path, ...], product: Path | None = None) -> None:
        """`product` turns styles into scales and shifts, for graphs that need those."""
        session = Ncnn().open(Graph(param, weights=weights), EngineOptions())
        assert isinstance(session, NcnnSession)
        self._session = session
        self._product = open_session(product) if product is not None else None

    def translate(self, trial: Trial) -> NDArray[np.uint8]:
        return self._session.run(self._feeds(trial))

    def translate_unrounded(self, trial: Trial) -> Floats:
        return self._session.unrounded(self._feeds(trial))

    def _feeds(self, trial: Trial) -> dict[str, NDArray[Any]]:
        if self._product is None:
            return trial.feeds
        [conditions] = self._product.run(None, {"style": trial.styles})
        return trial.feeds_with("gamma_beta", conditions)


def before_rounding(model: ir.Model) -> ir.Model:
    """Cut a graph before its last Round, in place: its output is then float32 [N, C, H, W], in grey levels."""
    last = [node for node in model.graph if node.op_type == "Round"][-1]
    value = last.inputs[0]
    assert value is not None
    [made] = model.graph.outputs
    assert made.shape is not None
    batch, height, width, channels = made.shape
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([batch, channels, height, width])
    model.graph.outputs[:] = [value]
    RemoveUnusedNodesPass()(model)
    return model


def difference(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """max |a - b| / max(1, |b|), in float64; infinite if `got` is not finite."""
    if not np.isfinite(got).all():
        return float("inf")
    expected = expected.astype(np.float64)
    return float(np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected))))


def translate_with_torch(generator: Callable[..., Tensor], trial: Trial) -> Floats:
    """PyTorch's images, [N, C, H, W] in -1..1, not rounded."""
    with torch.inference_mode():
        images: Floats = generator(*trial.tensors).numpy()
    return images


def _cut_before_rounding(graph: Path | ir.Model) -> ir.Model:
    return before_rounding(graph.clone() if isinstance(graph, ir.Model) else ir.load(graph))


def open_session(graph: Path | ir.Model) -> Any:
    """Open a file, or a graph in memory, in ONNX Runtime on the CPU."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # Threads that spin while waiting would take the CPU from PyTorch's threads, which run between these calls.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if isinstance(graph, ir.Model):
        content = ir.to_proto(_with_weights(graph)).SerializeToString()
        return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    with utf8_path(graph) as path:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def _with_weights(model: ir.Model) -> ir.Model:
    """The graph, or a copy with its weights in memory if it reads them from a file."""
    if not any(isinstance(value.const_value, ir.ExternalTensor) for value in model.graph.initializers.values()):
        return model
    loaded = model.clone()
    external_data.load_to_model(loaded)
    return loaded
