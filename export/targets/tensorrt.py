"""Frame graphs for TensorRT: rewritten, calibrated, converted to a precision, and with norms that a compiler fuses.

    traced -> form -> biases that centre the norms -> codes for int8 and fp8 -> half -> norms decomposed, or one node
    each

The precision is part of the graph: every type is explicit, casts included, as a strongly typed network requires. In
float32 norms are left alone: TensorRT-RTX then compiles AFHQ's generator to 129 kernels, and to 146 with decomposed
norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import msgspec
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from starcast.export.gate.candidates import OnnxCandidate, Trial
from starcast.export.gate.judge import Judge
from starcast.export.gate.quality import Verdict
from starcast.export.graphs.cost import Cost, weight_bytes
from starcast.export.graphs.facts import add_constant, numbers, one_image
from starcast.export.passes.adain_plugin import plug_norms
from starcast.export.passes.forms import LAST_SUM, TENSORRT, apply_form, apply_rewrites, rewrite_lines
from starcast.export.passes.half import to_half
from starcast.export.passes.norm_decomposition import decompose_norms
from starcast.export.passes.product_sums import sum_style_products
from starcast.export.passes.row_sums import sum_row_products
from starcast.export.plan import PREFERRED, FrameGraph, Plan
from starcast.export.precision.balanced_channels import balance_channels, scaled_convolutions
from starcast.export.precision.codes import tensorrt_rules
from starcast.export.precision.norm_ranges import calibrate_norms
from starcast.export.precision.search import SearchOptions, SearchResult, quantise
from starcast.export.precisions import PRECISIONS
from starcast.export.source import Progress, Source, stage
from starcast.runtime.variants import Norm


class TensorRTTarget:
    """Makes graphs for TensorRT. Plans of one form share its base; those of one precision also share its search."""

    def __init__(self, source: Source, without: Sequence[str], judge: Judge, progress: Progress) -> None:
        self._source, self._without, self._judge, self._progress = source, without, judge, progress
        self._side = source.model.side
        self._bases: dict[tuple[str, bool], FrameGraph] = {}  # by form, and whether channels are balanced
        self._searched: dict[tuple[str, str], SearchResult] = {}  # by form and precision

    def make(self, plan: Plan) -> FrameGraph:
        """The graph of a plan. Raises ParityError, or OptionError if a weight is too large for half precision."""
        base = self._base(plan.form, balanced=PRECISIONS[plan.precision].codes == "int8" and self._can_balance)
        if PRECISIONS[plan.precision].codes is None:
            return make_in_precision(base, plan, self._side, self._without)
        key = plan.form, plan.precision
        if key not in self._searched:
            self._searched[key] = self._search(base, plan)
        result = self._searched[key]
        graph = make_in_precision(replace(base, frame=result.model), plan, self._side, self._without)
        return replace(graph, kept=result.kept, to_blame=result.to_blame)

    @cached_property
    def _can_balance(self) -> bool:
        return any(scaled_convolutions(self._source.frame.graph))

    def _base(self, form: str, *, balanced: bool) -> FrameGraph:
        """The base of a form, made on first use. `balanced`: with channels that suit int8's grids; float8 has more
        digits for small values and needs none."""
        if (form, balanced) not in self._bases:
            self._bases[form, balanced] = self._make_base(form, balanced)
        return self._bases[form, balanced]

    def _make_base(self, form: str, balanced: bool) -> FrameGraph:
        """Rewrite and calibrate a form, then compare it with PyTorch, in float32 with decomposed norms: a PSNR would
        hardly show an error in those."""
        images, judge, before = self._judge.images.ranges, self._judge, Cost.of(self._source.frame, self._side)
        with stage(self._progress, f"form {form} for TensorRT: calibrated on {len(images)} images"):
            traced = self._source.frame.clone()
            count = balance_channels(traced, images, tensorrt_rules("int8").largest) if balanced else 0
            base, left = make_base(traced, form, self._side, images, judge.flat.trials, self._without)
        if count:
            self._progress(f"  balanced the input channels of {count} convolutions for int8")
        for line in (*rewrite_lines(base.steps, before, base.cost), *_norm_lines(base.norms, left)):
            self._progress(f"  {line}")
        with stage(self._progress, f"form {form} with decomposed norms: compared with PyTorch"):
            decomposed = with_decomposed_norms(base.frame.clone(), base, self._side, self._without)
            parity = judge.parity(base.plan.name, decomposed.steps, OnnxCandidate(decomposed.frame))
        self._progress(f"  {Verdict(parity=parity)}")
        return base

    def _search(self, base: FrameGraph, plan: Plan) -> SearchResult:
        judge = self._judge
        options = SearchOptions(rules=tensorrt_rules(plan.precision), gate=judge.gate(plan.precision), rest="fp16")
        judge.prepare(plan)

        def missing(model: ir.Model) -> float:
            return judge.missing_in_float32(model, plan.precision)

        with stage(self._progress, f"{plan.form}-{plan.precision}: calibrated and searched for TensorRT"):
            result = quantise(base.frame, one_image(self._side), judge.images, options, self._progress, missing)
        self._progress(f"  {result.summary('fp16')}")
        return result


def make_base(
    traced: ir.Model, form: str, side: int, trials: Sequence[Trial], flat: Sequence[Trial], without: Sequence[str] = ()
) -> tuple[FrameGraph, tuple[str, ...]]:
    """A form in float32 that still has the engine's own norms: the base of every precision.

    Rewrites a copy of the traced frame graph, and calibrates its norms on the trials; the images of `flat` have
    one colour each. Also returns the norms that could not be centred, with the reason.
    """
    frame = traced.clone()
    steps = (*apply_form(frame, form, without), *apply_rewrites(frame, TENSORRT, without))
    cost = replace(Cost.of(frame, side), working=None)
    norms, centring = calibrate_norms(frame, trials, flat)
    plan = replace(PREFERRED["tensorrt"], form=form)
    return FrameGraph(plan, frame, None, steps, cost, norms), centring.declined


def make_in_precision(base: FrameGraph, plan: Plan, side: int, without: Sequence[str] = ()) -> FrameGraph:
    """Convert a base, which may be quantised, to the plan's precision and norms.

    `side` is the trained image size. Raises OptionError if a weight is too large for half precision.
    """
    frame, half = base.frame.clone(), PRECISIONS[plan.precision].half
    if half is not None:
        kind = ir.DataType[half.upper()]
        to_half(frame, kind, norms=plan.norms == "unfused")
        _dequantise_to_half(frame, kind)
    graph = replace(base, plan=plan, frame=frame, norms=())
    if plan.norms == "plugin":
        plug_norms(frame)
        # the plugin's kernel makes two passes over the values it holds
        norms = tuple(msgspec.structs.replace(norm, statistics="two-pass") for norm in base.norms)
        graph = replace(graph, norms=norms)
    elif plan.precision != "fp32" and plan.norms != "unfused":
        graph = replace(with_decomposed_norms(frame, base, side, without), plan=plan)
    return replace(graph, cost=replace(base.cost, weights=weight_bytes(graph.frame)))


def with_decomposed_norms(frame: ir.Model, base: FrameGraph, side: int, without: Sequence[str] = ()) -> FrameGraph:
    """Write the norms of a graph in any precision as operators that a compiler fuses; `frame` is changed."""
    decompose_norms(frame, side, {norm.name: norm.statistics for norm in base.norms})
    return replace(base, frame=frame, steps=(*base.steps, *apply_rewrites(frame, [LAST_SUM], without)))


def without_products(style_graph: ir.Model) -> None:
    """Rewrite a style graph's matrix products, in place: TensorRT-RTX has no float32 matrix product for Turing."""
    sum_style_products(style_graph)
    sum_row_products(style_graph, {"batch": 1})


def _dequantise_to_half(model: ir.Model, kind: ir.DataType) -> None:
    """Merge casts into the DequantizeLinear before them: engines use codes only directly in front of a convolution."""
    for node in list(model.graph):
        source = node.inputs[0] if node.op_type == "Cast" else None
        maker = source.producer() if source is not None else None
        if maker is None or maker.op_type != "DequantizeLinear" or node.outputs[0].dtype != kind:
            continue
        scale = numbers(maker.inputs[1])
        assert scale is not None
        assert source is not None
        half = add_constant(model.graph, f"{source.name}.scale.half", scale.astype(kind.numpy()))
        maker.replace_input_with(1, half)
        source.type = ir.TensorType(kind)
        node.outputs[0].replace_all_uses_with(source)
    RemoveUnusedNodesPass()(model)


def _norm_lines(norms: Sequence[Norm], left: Sequence[str]) -> Iterator[str]:
    """A line about all norms of a graph, then one for each that could not be centred."""
    if norms:
        worst = max(norms, key=lambda norm: norm.ratio)
        one_pass = sum(norm.statistics == "one-pass" for norm in norms)
        yield (
            f"norms: {one_pass} in one pass, {len(norms) - one_pass} in two, {sum(norm.centred for norm in norms)} "
            f"centred; |mean| / std at most {worst.ratio:.3g} ({worst.name})"
        )
    for place in left:
        yield f"not centred: {place}"
