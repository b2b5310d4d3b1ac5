"""Frame graphs for CPU engines: float32, which also serves bf16 as a hint, and int8, calibrated and searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import onnx_ir as ir

from starcast.export.gate.judge import Judge
from starcast.export.graphs.cost import Cost, weight_bytes
from starcast.export.graphs.facts import one_image
from starcast.export.passes.forms import (
    BESIDE_BF16,
    NCNN,
    ONE_STYLE,
    ONNX_ON_CPU,
    PLAIN,
    Step,
    apply_form,
    apply_rewrites,
    rewrite_lines,
)
from starcast.export.passes.plane_sums import add_planes_first
from starcast.export.passes.rule import apply_rules
from starcast.export.passes.scale_split import split_off_scales
from starcast.export.passes.style_products import join_style_products
from starcast.export.passes.style_split import GAMMA_BETA, StyleInNorm, split_off_style
from starcast.export.passes.wide_norms import FLAT_WIDE, LAST, split_early_norms, split_wide_norms
from starcast.export.plan import FrameGraph, Plan
from starcast.export.precision.balanced_channels import balance_channels
from starcast.export.precision.codes import ENGINE_RULES, drop_output_codes
from starcast.export.precision.search import SearchOptions, quantise
from starcast.export.source import Progress, Source, stage
from starcast.export.store import Store


class OnnxTarget:
    """Makes graphs for OpenVINO, ONNX Runtime and ncnn, whose own files are written from the same graph."""

    def __init__(
        self, source: Source, plans: Sequence[Plan], without: Sequence[str], judge: Judge, store: Store,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._source, self._without, self._progress = source, without, progress
        self._plans, self._judge, self._store = plans, judge, store
        self._before = Cost.of(source.frame, source.model.side)
        self._reported: set[str] = set()  # forms whose rewrites progress has shown
        self._hinted: dict[Plan, FrameGraph] = {}  # float32 graphs that bf16 plans will reuse
        self._searched: dict[str, dict[Plan, FrameGraph]] = {}  # int8 graphs, by engine

    def make(self, plan: Plan) -> FrameGraph | None:
        """The graph of a plan; None if it cannot have one. Raises ParityError and EngineError."""
        if plan.precision == "int8":
            [engine] = plan.engines
            if engine not in self._searched:
                self._searched[engine] = self._search(engine)
            return self._searched[engine].get(plan)
        if plan.is_hint:
            return self._hinted[plan]
        graph = self._in_float32(plan)
        accurate = self._with_accurate_means(graph)
        for other in self._plans:
            if other.is_hint and other.file == plan.file:
                self._hinted[other] = replace(graph, plan=replace(other, apart=accurate is not graph))
        return accurate

    def _in_float32(self, plan: Plan) -> FrameGraph:
        graph = make_float32(self._source.frame, plan, self._source.model.side, self._without)
        name = f"form {plan.form}{' for ncnn' if plan.ncnn else ''}"
        if name not in self._reported:
            self._reported.add(name)
            self._progress(name)
            for line in rewrite_lines(graph.steps, self._before, graph.cost):
                self._progress(f"  {line}")
        return graph

    def _with_accurate_means(self, graph: FrameGraph) -> FrameGraph:
        """The graph, with means by tiles in as few norms as keep images mostly of one colour within the gate in
        OpenVINO and ONNX Runtime. Where OpenVINO is missing, the norms that need it most have them."""
        if not self._judge.flat.trials:
            return graph
        splits: list[Callable[[ir.Model, int], int]] = [split_early_norms]
        splits += [partial(split_wide_norms, wide=wide) for wide in (FLAT_WIDE, LAST)]
        for number, split in enumerate(splits):
            measured = self._judge.flat_levels(graph, self._store.write(graph))
            if number:  # what cannot be measured is split once
                measured = {engine: levels or 0 for engine, levels in measured.items()}
            off = {engine: levels for engine, levels in measured.items() if levels != 0}
            if not off:
                break
            frame = graph.frame.clone()
            norms = split(frame, self._source.model.side)
            if norms:
                for engine, levels in off.items():
                    reason = "cannot be measured here" if levels is None else f"were off by up to {levels} levels"
                    self._progress(
                        f"  took the means of {norms} norms by tiles: in {engine}, images mostly of one colour {reason}"
                    )
                graph = replace(graph, frame=frame)
        return graph

    def _search(self, engine: str) -> dict[Plan, FrameGraph]:
        """Search once for an engine, and make an int8 graph for each precision of the layers without codes."""
        side, judge, store = self._source.model.side, self._judge, self._store
        plans = [plan for plan in self._plans if plan.precision == "int8" and plan.engines == (engine,)]
        graphs: dict[Plan, FrameGraph] = {}
        judge.prepare(plans[-1])
        with stage(self._progress, f"{plans[-1].name}: calibrated and searched for {engine}"):
            frame = self._source.frame.clone()
            balanced = balance_channels(frame, judge.images.ranges, ENGINE_RULES[engine].largest)
            steps = rewrite(frame, plans[0], self._without)
            cost = Cost.of(frame, side)
            if split_wide_norms(frame.clone(), side):  # bf16 would round wide norms' means
                plans = [plan for plan in plans if plan.rest is None]

            def missing(model: ir.Model) -> float:
                store.restart(plans[0])
                for plan in plans:
                    graphs[plan] = self._with_codes(model.clone(), plan, steps, cost)
                return max([judge.missing(graph, store.write(graph)) for graph in graphs.values()])

            options = SearchOptions(rules=ENGINE_RULES[engine], gate=judge.gate("int8"))
            result = quantise(frame, one_image(side), judge.images, options, self._progress, missing)
        if balanced:
            self._progress(f"  balanced the input channels of {balanced} convolutions for int8")
        self._progress(f"  {result.summary('float32')}")
        return {plan: replace(graph, kept=result.kept, to_blame=result.to_blame) for plan, graph in graphs.items()}

    def _with_codes(self, frame: ir.Model, plan: Plan, steps: tuple[Step, ...], cost: Cost) -> FrameGraph:
        """Finish a graph with codes, in place."""
        [engine] = plan.engines
        if plan.rest is not None:
            steps += tuple(apply_rewrites(frame, BESIDE_BF16, self._without))
        if any(node.op_type == "AveragePool" for node in frame.graph):  # also with --without grouped-boxes
            drop_output_codes(frame, ENGINE_RULES[engine].unrounded_beside_pools)
        product = finish(frame, plan, self._source.model.side)
        return FrameGraph(plan, frame, product, steps, replace(cost, weights=weight_bytes(frame)))


def make_float32(traced: ir.Model, plan: Plan, side: int, without: Sequence[str] = ()) -> FrameGraph:
    """Rewrite a copy of the traced frame graph for images that are mostly `side` pixels wide."""
    frame = traced.clone()
    steps = rewrite(frame, plan, without)
    product = finish(frame, plan, side)
    return FrameGraph(plan, frame, product, steps, Cost.of(frame, side))


def rewrite(frame: ir.Model, plan: Plan, without: Sequence[str] = ()) -> tuple[Step, ...]:
    """Apply the rewrites of a plan's form, in place, then those for its engines."""
    steps = apply_form(frame, plan.form, without)
    if plan.form != PLAIN:
        steps += apply_rewrites(frame, NCNN if plan.ncnn else ONNX_ON_CPU, without)
        if (plan.ncnn or plan.one_style) and plan.precision == "fp32":  # codes are calibrated with many styles at once
            steps += apply_rewrites(frame, ONE_STYLE, without)
    return tuple(steps)


def finish(frame: ir.Model, plan: Plan, side: int) -> ir.Model | None:
    """Finish a rewritten frame graph, in place: give norms their final form, and move the style's work to a separate
    graph, which is returned."""
    if plan.ncnn:
        join_style_products(frame)  # also with --without style-products: ncnn accepts a style in no other way
    product = split_off_style(frame) if plan.form != PLAIN else None
    if plan.ncnn and product is None:
        product = split_off_scales(frame, side)
        add_planes_first(frame)
    split_wide_norms(frame, side)
    if plan.one_style and product is not None:
        apply_rules(frame, StyleInNorm)
        condition = next(value for value in frame.graph.inputs if value.name == GAMMA_BETA)
        assert condition.shape is not None
        condition.shape = ir.Shape([1, *list(condition.shape)[1:]])
    return product
