"""A graph's translations as the runtime's engines give them, or an emulation of one; and float32's to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.candidates import Trial, open_session
from starcast.export.gate.quality import Translate, measure, worse_of
from starcast.export.precision.emulated import emulated
from starcast.runtime.engines.base import Engine, EngineOptions, Graph
from starcast.runtime.manifest import Quality

Expected = Mapping[str, Sequence[NDArray[np.uint8]]]


def translated_in_float32(model: ir.Model, trials: Mapping[str, Sequence[Trial]]) -> Expected:
    """What a float32 frame graph gives for each domain's trials, in ONNX Runtime."""
    session = open_session(model)
    return {
        domain: [session.run(None, trial.feeds)[0] for trial in its_trials] for domain, its_trials in trials.items()
    }


def quality_on(
    engines: Sequence[Engine],
    graph: Graph,
    trials: Mapping[str, Sequence[Trial]],
    expected: Expected,
    product: Path | None = None,
) -> Quality:
    """The worst of several engines' qualities; `product` makes scales and shifts of styles for a
    graph that takes those. Raises EngineError where an engine cannot run the graph."""
    measured = []
    for engine in engines:
        with _opened(engine, graph, product) as translate:
            measured.append(measure(translate, expected, trials))
    return reduce(worse_of, measured)


@contextmanager
def _opened(engine: Engine, graph: Graph, product: Path | None) -> Iterator[Translate]:
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


def quality_in_float32(model: ir.Model, trials: Mapping[str, Sequence[Trial]], expected: Expected) -> Quality:
    """What a graph makes of the trials in ONNX Runtime, as it stands."""
    session = open_session(model)
    return measure(lambda trial: session.run(None, trial.feeds)[0], expected, trials)


def emulated_quality(model: ir.Model, trials: Mapping[str, Sequence[Trial]], expected: Expected) -> Quality:
    """What a graph in half makes of the trials when every node rounds to its types; see emulated.py for what that
    tells. The values' types must be known."""
    return quality_in_float32(emulated(model), trials, expected)
