"""The variants for TensorRT: one graph a precision, written, compared with PyTorch or with float32, and described.

float32 is compared as every engine's is. The others are judged by PSNR on pictures that nothing was calibrated on, in
an emulation: no TensorRT runs where a bundle is made (see precision/emulated.py for what that leaves open).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import onnx_ir as ir

from starcast.export.gate.candidates import OnnxCandidate
from starcast.export.gate.engines import Expected, emulated_quality, quality_in_float32
from starcast.export.gate.judging import Judging
from starcast.export.gate.quality import below, check, missing, summary
from starcast.export.graphs.shapes import one_picture
from starcast.export.graphs.weights import WEIGHTS, SharedWeights
from starcast.export.passes.adain_plugin import with_function
from starcast.export.plan import Made, Plan
from starcast.export.precision.codes import tensorrt_rules
from starcast.export.precision.emulated import layers_that_lose
from starcast.export.precision.search import Int8Options, Int8Result, quantise
from starcast.export.precisions import PRECISIONS
from starcast.export.progress import stage
from starcast.export.rewrite_report import Cost, norm_lines, rewrite_lines, weight_bytes
from starcast.export.targets.tensorrt import Base, base_of, form_for, fused, spelled
from starcast.export.write_variants import GENERATOR, Making, ParityGate, named, parity_line, parity_of, written
from starcast.runtime.manifest import Parity, Quality, Variant


@dataclass(frozen=True)
class _Source:
    """A base, and what was searched on it: both serve spelled and plugged norms alike."""

    base: Base
    searched: Int8Result | None = None

    @property
    def frame(self) -> ir.Model:
        return self.base.frame if self.searched is None else self.searched.model


def write_fused(
    making: Making, plans: Sequence[Plan], precisions: Sequence[str], judging: Judging, gate: ParityGate
) -> tuple[Variant, ...]:
    """Write what `precisions` name for those float32 plans, float32 first. Raises ParityError, OptionError."""
    wanted = [
        replace(plan, form=form_for(plan.form, precision), precision=precision)
        for precision in dict.fromkeys(("fp32", *precisions))
        for plan in plans
        if (precision, plan.norms) != ("fp32", "unfused")  # its norms are the engine's own in any case
    ]
    bases: dict[str, Base] = {}
    sources: dict[tuple[str, str], _Source] = {}
    variants = []
    for plan in dict.fromkeys(wanted):
        if plan.form not in bases:
            bases[plan.form] = _base(making, plan, judging, gate)
        key = plan.form, plan.precision
        if key not in sources:
            sources[key] = _source(making, bases[plan.form], plan, judging)
        variants.append(_write(making, plan, sources[key], judging, gate))
    return tuple(variants)


def _base(making: Making, plan: Plan, judging: Judging, gate: ParityGate) -> Base:
    """Rewritten, calibrated, and compared with PyTorch in float32 with its norms spelled, as PSNR would tell little."""
    side, trials, form = making.model.side, judging.pictures.ranges, plan.form
    with stage(making.progress, f"form {form} for TensorRT: norms calibrated on {len(trials)} pictures"):
        base = base_of(making.traced, form, side, trials, gate.flat, making.without)
    before = Cost.of(making.traced, side)
    for line in (*rewrite_lines(base.steps, before, base.cost), *norm_lines(base.norms, base.left)):
        making.progress(f"  {line}")
    with stage(making.progress, f"form {form} with norms spelled: compared with PyTorch"):
        made = spelled(base.frame.clone(), base, side, making.without)
        parity = parity_of(making, Made(plan, made.frame, None, made.steps), OnnxCandidate(made.frame), gate)
    making.progress(f"  {parity_line(parity)}")
    return base


def _source(making: Making, base: Base, plan: Plan, judging: Judging) -> _Source:
    if PRECISIONS[plan.precision].codes is None:
        return _Source(base)
    options = Int8Options(rules=tensorrt_rules(plan.precision), gate=judging.gate(plan.precision), rest="fp16")
    expected, pictures = judging.expected, judging.pictures  # a stage of its own

    def lacking(model: ir.Model) -> float:
        return missing(quality_in_float32(model, pictures.gate, expected), options.gate)

    with stage(making.progress, f"{plan.form}-{plan.precision}: calibrated and searched for TensorRT"):
        sizes = one_picture(making.model.side)
        searched = quantise(base.frame, sizes, pictures, options, making.progress, lacking)
    making.progress(f"  {searched.summary('fp16')}")
    return _Source(base, searched)


def _write(making: Making, plan: Plan, source: _Source, judging: Judging, gate: ParityGate) -> Variant:
    base = source.base
    graph = fused(source.frame, plan, base, making.model.side, making.without)
    made = Made(plan, graph.frame, None, graph.steps)
    size, path = weight_bytes(made.frame), making.folder / GENERATOR / plan.file
    parity: Parity | None = None
    quality: Quality | None = None
    against = "PyTorch" if plan.precision == "fp32" else "float32"
    expected = judging.expected if plan.precision != "fp32" else {}  # a stage of its own
    with stage(making.progress, f"{plan.file}: written, and compared with {against}"):
        path, beside = written(making, made, SharedWeights(path.with_suffix(WEIGHTS)))
        runnable = with_function(made.frame) if plan.norms == "plugin" else made.frame
        if plan.precision == "fp32":
            parity = parity_of(making, made, OnnxCandidate(runnable), gate)
            measured = parity_line(parity)
        else:
            quality = _quality(runnable, plan, source, judging, expected)
            measured = summary(quality)
    making.progress(f"  {measured}")
    return Variant(
        **named(making.folder, path, beside), engines=plan.backends, form=plan.form, adain=plan.norms,
        precision=plan.precision,
        parity=parity, quality=quality, kept=source.searched.kept if source.searched is not None else (),
        norms=graph.norms, flop=base.cost.flop, bytes=size + path.stat().st_size,
        rewrites={step.rewrite.name: step.outcome.fired for step in graph.steps},
    )  # fmt: skip


def _quality(model: ir.Model, plan: Plan, source: _Source, judging: Judging, expected: Expected) -> Quality:
    """What the gate measures; ParityError where it is too little, with the layers to blame."""
    quality = emulated_quality(model, judging.pictures.gate, expected)
    gate = judging.gate(plan.precision)
    if below(quality, gate) is not None:
        searched = source.searched
        trials = list(chain(*judging.pictures.gate.values()))
        check(quality, gate, plan.precision, searched.to_blame if searched else layers_that_lose(model, trials))
    return quality
