"""The gate: a graph is kept only if it matches PyTorch or, below float32, the float32 translations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain

import msgspec
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from starcast.export.gate.blame import where_apart
from starcast.export.gate.candidates import Candidate, NcnnCandidate, OnnxCandidate, Trial
from starcast.export.gate.parity import (
    TOLERANCE,
    FlatImages,
    check_flat,
    check_generator,
    expected_translations,
    levels_too_far,
    make_trials,
)
from starcast.export.gate.quality import (
    Expected,
    Verdict,
    below,
    check,
    measure_emulated,
    measure_in_float32,
    measure_on_engines,
    missing,
    open_translate,
    translate_in_float32,
)
from starcast.export.options import ExportOptions
from starcast.export.passes.adain_plugin import with_function
from starcast.export.passes.forms import Step
from starcast.export.plan import FrameGraph, Plan
from starcast.export.precision.emulation import layers_that_lose
from starcast.export.precision.samples import CalibrationSet, choose_images
from starcast.export.precisions import PRECISIONS, Gate
from starcast.export.source import Progress, Source, stage
from starcast.export.store import Stored
from starcast.runtime.engines.base import Graph
from starcast.runtime.engines.openvino import lacks
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.variants import Parity, Quality


class Judge:
    """Judges every graph of one export, on the same images."""

    def __init__(self, source: Source, options: ExportOptions, plans: Sequence[Plan], progress: Progress) -> None:
        """Translate the float32 gate's images with PyTorch. Raises ParityError if the translations are not finite."""
        self._source, self._options, self._plans, self._progress = source, options, plans, progress
        generator = source.model.reference
        with stage(progress, "translated the gate's images with PyTorch"):
            self._trials = make_trials(source.model)
            self._expected = expected_translations(generator, self._trials)
            self.flat = FlatImages(source.model)
        self._measured: dict[Plan, tuple[FrameGraph, Quality]] = {}
        self._flat: tuple[FrameGraph, list[NDArray[np.uint8]]] | None = None  # the latest, in OpenVINO

    @cached_property
    def images(self) -> CalibrationSet:
        """The images that graphs below float32 are calibrated on and judged by, chosen on first use.

        TensorRT's half precision can use drawn images; codes and OpenVINO's bf16 need real ones. Raises OptionError if
        those are missing.
        """
        required = any(PRECISIONS[plan.precision].codes or plan.is_hint for plan in self._plans)
        return choose_images(
            self._source.model, self._options.calibrate, self._source.data, self._progress, required=required
        )

    @cached_property
    def expected(self) -> Expected:
        """The float32 translations of the gate's images, made on first use."""
        images = self.images
        with stage(self._progress, "translated the images for smaller precisions in float32"):
            return translate_in_float32(self._source.frame.clone(), images.gate)

    def gate(self, precision: str) -> Gate:
        """The PSNR that a precision must reach: its default, or shifted to `--min-psnr`."""
        return PRECISIONS[precision].gate_for(self._options.min_psnr)

    def prepare(self, plan: Plan) -> None:
        """Make the translations that a plan's graph is compared with, so that the time of its stage excludes them."""
        if plan.precision != "fp32":
            _ = self.expected

    def judge(self, graph: FrameGraph, stored: Stored) -> Verdict:
        """Measure a written graph. Raises EngineError, or ParityError with what is to blame if it misses its gate."""
        plan = graph.plan
        if plan.precision == "fp32":
            parity = self.parity(plan.name, graph.steps, self._candidate(graph, stored))
            translations = self._flat_in_openvino(graph, stored)
            if translations is not None and parity.flat_levels is not None:
                levels = check_flat(f"{plan.name} in OpenVINO", translations, self.flat)
                parity = msgspec.structs.replace(parity, flat_levels=max(levels, parity.flat_levels))
            return Verdict(parity=parity)
        quality, gate = self.quality(graph, stored), self.gate(plan.precision)
        if below(quality, gate) is not None:
            to_blame = graph.to_blame or self._layers_to_blame(graph)
            check(quality, gate, plan.precision, to_blame, has_source=self._source.model.stride is not None)
        return Verdict(quality=quality)

    def parity(self, name: str, steps: Sequence[Step], candidate: Candidate) -> Parity:
        """Measure how far a float32 graph is from PyTorch. Raises ParityError, which names the rewrite or layer to
        blame."""

        def blame(trial: Trial) -> str:
            return where_apart(self._source.frame, steps, self._source.model.generator, trial, TOLERANCE)

        parity = check_generator(candidate, name, self._trials, self._expected, blame)
        if not self.flat.trials:
            return parity
        flat = check_flat(name, [candidate.translate(trial) for trial in self.flat.trials], self.flat)
        return msgspec.structs.replace(parity, flat_levels=flat)

    def flat_levels(self, graph: FrameGraph, stored: Stored) -> dict[str, int | None]:
        """How far OpenVINO and ONNX Runtime are too far from PyTorch on images mostly of one colour, in grey levels, if
        the graph is for them: 0 if they pass their gate, None for OpenVINO where it is missing."""
        found: dict[str, int | None] = {}
        if "openvino" in graph.plan.engines:
            translations = self._flat_in_openvino(graph, stored)
            found["OpenVINO"] = None if translations is None else levels_too_far(translations, self.flat)
        if "onnxruntime" in graph.plan.engines:
            candidate = self._candidate(graph, stored)
            translations = [candidate.translate(trial) for trial in self.flat.trials]
            found["ONNX Runtime"] = levels_too_far(translations, self.flat)
        return found

    def quality(self, graph: FrameGraph, stored: Stored) -> Quality:
        """Measure how close a graph below float32 is to float32. A graph is measured only once."""
        plan = graph.plan
        measured = self._measured.get(plan)
        if measured is None or measured[0].frame is not graph.frame:
            measured = self._measured[plan] = graph, self._measure(graph, stored)
        return measured[1]

    def missing(self, graph: FrameGraph, stored: Stored) -> float:
        """A graph's shortfall from its gate, in dB; 0 or less if it passes."""
        return missing(self.quality(graph, stored), self.gate(graph.plan.precision))

    def missing_in_float32(self, model: ir.Model, precision: str) -> float:
        """A quantised graph's shortfall from its gate, in dB, while its other layers are in float32; 0 or less if it
        passes. Measured in ONNX Runtime."""
        quality = measure_in_float32(model, self.images.gate, self.expected)
        return missing(quality, self.gate(precision))

    def _measure(self, graph: FrameGraph, stored: Stored) -> Quality:
        plan, trials, expected = graph.plan, self.images.gate, self.expected
        if plan.norms != "native":  # TensorRT is emulated, so that exporting needs no GPU
            return measure_emulated(_runnable(graph), trials, expected)
        engines = [ENGINES[name] for name in plan.engines]
        written = Graph(stored.path, weights=stored.weights, precision=plan.precision, rest=plan.rest)
        return measure_on_engines(engines, written, trials, expected, stored.product)

    def _flat_in_openvino(self, graph: FrameGraph, stored: Stored) -> list[NDArray[np.uint8]] | None:
        """OpenVINO's translations of the flat images; None for a graph that is not for it, or where it is missing."""
        engine = ENGINES["openvino"]
        if engine.name not in graph.plan.engines or engine.absent() is not None:
            return None
        if self._flat is None or self._flat[0].frame is not graph.frame:
            with open_translate(engine, Graph(stored.path, weights=stored.weights), stored.product) as translate:
                self._flat = graph, [translate(trial) for trial in self.flat.trials]
        return self._flat[1]

    def _candidate(self, graph: FrameGraph, stored: Stored) -> Candidate:
        """The runner of a graph that is compared with PyTorch."""
        if graph.plan.norms != "native":
            return OnnxCandidate(_runnable(graph))
        if graph.plan.ncnn:
            return NcnnCandidate(stored.path, stored.weights, stored.product)
        return OnnxCandidate(stored.path, stored.product, one_style=graph.plan.one_style)

    def _layers_to_blame(self, graph: FrameGraph) -> tuple[str, ...]:
        if graph.plan.norms == "native":
            return ()
        return layers_that_lose(_runnable(graph), list(chain(*self.images.gate.values())))


def unmeasurable(plan: Plan) -> str | None:
    """Why nothing on this machine can measure a plan's graph; None if something can."""
    if plan.norms != "native" or "bf16" not in (plan.precision, plan.rest):
        return None
    absence = ENGINES["openvino"].absent()
    return absence.reason if absence is not None else lacks("bf16")


def _runnable(graph: FrameGraph) -> ir.Model:
    """TensorRT's graph in a version that ONNX Runtime can run: a function defines the plugin's nodes."""
    return with_function(graph.frame) if graph.plan.norms == "plugin" else graph.frame
