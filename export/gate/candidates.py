"""What PyTorch and an engine give for the same pictures, in the same units, and how far they are apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx_ir import external_data
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.gate.reference import Network, translate_unrounded
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.ncnn import Ncnn, NcnnSession

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """One run of the frame graph: sources uint8 [N, H, W, 3], styles float32 [N or 1, S]."""

    sources: NDArray[np.uint8]
    styles: Floats

    @property
    def batch(self) -> int:
        """How many pictures are translated at once."""
        return len(self.sources)

    @property
    def feeds(self) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name."""
        return {"image": self.sources, "style": self.styles}


class Candidate(Protocol):
    """A written variant, run as the runtime would run it."""

    def translated(self, trial: Trial) -> NDArray[np.uint8]:
        """The translations, uint8 [N, H, W, 3]."""

    def unrounded(self, trial: Trial) -> Floats:
        """The same before the last Round, in 0..255 and beyond: float32 [N, 3, H, W]."""


class OnnxCandidate:
    """A frame graph in ONNX Runtime: the file itself, and once more cut before its last Round."""

    def __init__(self, graph: Path | ir.Model, product: Path | None = None, *, one_style: bool = False) -> None:
        """`product` makes scales and shifts of styles, for graphs that take those."""
        self._written, self._cut = open_session(graph), open_session(_cut_before_rounding(graph))
        self._product = open_session(product) if product is not None else None
        self._one_style = one_style

    def translated(self, trial: Trial) -> NDArray[np.uint8]:
        return self._run(self._written, trial)

    def unrounded(self, trial: Trial) -> Floats:
        return self._run(self._cut, trial)

    def _run(self, session: onnxruntime.InferenceSession, trial: Trial) -> NDArray[Any]:
        name, conditions = "style", trial.styles
        if self._product is not None:
            name, [conditions] = "gamma_beta", self._product.run(None, {"style": trial.styles})
        if not self._one_style or len(conditions) == 1:
            output: NDArray[Any] = session.run(None, {"image": trial.sources, name: conditions})[0]
            return output
        feeds = [{"image": trial.sources[k : k + 1], name: conditions[k : k + 1]} for k in range(trial.batch)]
        return np.concatenate([session.run(None, feed)[0] for feed in feeds])


class NcnnCandidate:
    """ncnn's two files in ncnn, on the CPU."""

    def __init__(self, param: Path, product: Path) -> None:
        """`product` makes scales and shifts of styles."""
        session = Ncnn().open(Graph(param), EngineOptions())
        assert isinstance(session, NcnnSession)
        self._session = session
        self._product = open_session(product)

    def translated(self, trial: Trial) -> NDArray[np.uint8]:
        return self._session.run(self._feeds(trial))

    def unrounded(self, trial: Trial) -> Floats:
        return self._session.unrounded(self._feeds(trial))

    def _feeds(self, trial: Trial) -> dict[str, NDArray[Any]]:
        [conditions] = self._product.run(None, {"style": trial.styles})
        return {"image": trial.sources, "gamma_beta": conditions}


def before_rounding(model: ir.Model) -> ir.Model:
    """The graph cut before its last Round: its output is the picture in 0..255, float32 [N, 3, H, W]. In place."""
    last = [node for node in model.graph if node.op_type == "Round"][-1]
    value = last.inputs[0]
    assert value is not None
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["batch", 3, "height", "width"])
    model.graph.outputs[:] = [value]
    RemoveUnusedNodesPass()(model)
    return model


def difference(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """max |a - b| / max(1, |b|), in float64; infinite where `got` is not finite."""
    if not np.isfinite(got).all():
        return float("inf")
    expected = expected.astype(np.float64)
    return float(np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected))))


def translated_by_torch(generator: Network, trial: Trial) -> Floats:
    """PyTorch's translations, [N, 3, H, W] in -1..1, not rounded."""
    return translate_unrounded(generator, trial.sources, trial.styles)


def _cut_before_rounding(graph: Path | ir.Model) -> ir.Model:
    return before_rounding(graph.clone() if isinstance(graph, ir.Model) else ir.load(graph))


def open_session(graph: Path | ir.Model) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU, for a file or a graph in memory."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # Threads that spin while they wait take the processor from PyTorch's, which run in between.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = str(graph) if isinstance(graph, Path) else ir.to_proto(_with_weights(graph)).SerializeToString()
    return onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])


def _with_weights(model: ir.Model) -> ir.Model:
    """The graph, or a copy with its weights in memory where it reads them from a file."""
    if not any(isinstance(value.const_value, ir.ExternalTensor) for value in model.graph.initializers.values()):
        return model
    loaded = model.clone()
    external_data.load_to_model(loaded)
    return loaded
