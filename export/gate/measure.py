"""Measures the quality of a graph below float32, in the runtime's engines or in an emulation of TensorRT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.candidates import Trial, open_session
from starcast.export.gate.quality import Translate, measure_quality, worse_of
from starcast.export.precision.emulation import emulate
from starcast.runtime.engines.base import Engine, EngineOptions, Graph
from starcast.runtime.manifest import Quality

Expected = Mapping[str, Sequence[NDArray[np.uint8]]]


def translate_in_float32(model: ir.Model, trials: Mapping[str, Sequence[Trial]]) -> Expected:
    """A float32 frame graph's translations of each domain's trials, in ONNX Runtime."""
    session = open_session(model)
    return {
        domain: [session.run(None, trial.feeds)[0] for trial in its_trials] for domain, its_trials in trials.items()
    }


def measure_on_engines(
    engines: Sequence[Engine],
    graph: Graph,
    trials: Mapping[str, Sequence[Trial]],
    expected: Expected,
    product: Path | None = None,
) -> Quality:
    """The worst of several engines' qualities. `product` turns styles into scales and shifts for a graph that takes
    those. Raises EngineError if an engine cannot run the graph."""
    measured = []
    for engine in engines:
        with _open(engine, graph, product) as translate:
            measured.append(measure_quality(translate, expected, trials))
    return reduce(worse_of, measured)


@contextmanager
def _open(engine: Engine, graph: Graph, product: Path | None) -> Iterator[Translate]:
    scales = open_session(product) if product is not None else None
    session = engine.open(graph, EngineOptions())

    def translate(trial: Trial) -> NDArray[np.uint8]:
        if scales is None:
            return session.run(trial.feeds)
        [given] = scales.run(None, {"style": trial.styles})
        return session.run({"image": trial.sources, "gamma_beta": given})

    try:
        yield translate
    finally:
        session.close()


def measure_in_float32(model: ir.Model, trials: Mapping[str, Sequence[Trial]], expected: Expected) -> Quality:
    """The quality of a graph as it is, in ONNX Runtime."""
    session = open_session(model)
    return measure_quality(lambda trial: session.run(None, trial.feeds)[0], expected, trials)


def measure_emulated(model: ir.Model, trials: Mapping[str, Sequence[Trial]], expected: Expected) -> Quality:
    """The quality of a graph in half precision when every node rounds to its types. The values' types must be known;
    emulation.py says what this shows and what it does not."""
    return measure_in_float32(emulate(model), trials, expected)
