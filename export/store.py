"""The bundle's folder while it is filled: frame graphs, their shared weights, and the manifest's entry for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import ReferenceType, ref

import onnx_ir as ir

from starcast.export.gate.verdict import Verdict
from starcast.export.graphs.files import WEIGHTS, SharedWeights, write_graph
from starcast.export.plan import FrameGraph, Plan
from starcast.export.targets.ncnn import write_ncnn
from starcast.runtime.manifest import GraphFiles, Variant

GENERATOR, STYLE_PRODUCT = "generator", "style_product.onnx"


@dataclass(frozen=True)
class Stored:
    """The files of a written frame graph. `product` turns styles into scales and shifts, for graphs that take those."""

    path: Path
    weights: tuple[Path, ...]
    product: Path | None


class Store:
    """Writes graphs into a folder, and describes them."""

    def __init__(self, folder: Path, facts: Mapping[str, str]) -> None:
        """`facts` become the metadata of every ONNX file."""
        self.folder = folder
        self.variants: list[Variant] = []
        self._facts = facts
        self._weights: dict[str, SharedWeights] = {}
        # by the graph's file; weak, because ncnn's graphs hold all of their weights in memory
        self._written: dict[str, tuple[ReferenceType[ir.Model], Stored]] = {}
        (folder / GENERATOR).mkdir()

    @property
    def product(self) -> GraphFiles | None:
        """The graph that turns styles into scales and shifts, if a frame graph takes those."""
        return GraphFiles(graph=STYLE_PRODUCT) if (self.folder / STYLE_PRODUCT).exists() else None

    def write(self, graph: FrameGraph) -> Stored:
        """Write a graph's files, unless they hold it already. Raises EngineError for a node that ncnn lacks."""
        name = graph.plan.file
        if name not in self._written or self._written[name][0]() is not graph.frame:
            self._written[name] = ref(graph.frame), self._write(graph)
        return self._written[name][1]

    def restart(self, plan: Plan) -> None:
        """Remove the weights written for a plan, because another attempt will replace them."""
        if plan.weights in self._weights:
            self._weights.pop(plan.weights).path.unlink(missing_ok=True)

    def add(self, graph: FrameGraph, stored: Stored, verdict: Verdict) -> None:
        """Add a written graph to the bundle's variants, with what the gate measured."""
        plan, cost = graph.plan, graph.cost
        variant = Variant(
            file=self._name(stored.path), weights=tuple(map(self._name, stored.weights)), engines=plan.engines,
            form=plan.form, adain=plan.norms, precision=plan.precision, rest=plan.rest,
            condition="style" if graph.product is None else "gamma_beta", one_style=plan.one_style,
            parity=verdict.parity, quality=verdict.quality, kept=graph.kept, norms=graph.norms, flop=cost.flop,
            bytes=cost.weights + stored.path.stat().st_size, working=cost.working,
            rewrites={step.rewrite.name: step.outcome.fired for step in graph.steps},
        )  # fmt: skip
        self.variants.append(variant)

    def _write(self, graph: FrameGraph) -> Stored:
        plan, product = graph.plan, None
        if graph.product is not None:
            # All forms have the same product. If one had another, the gate would run it with the first's and refuse it.
            product = self.folder / STYLE_PRODUCT
            if not product.exists():
                write_graph(graph.product, product, self._facts)
        path = self.folder / GENERATOR / plan.file
        if plan.ncnn:
            return Stored(path, write_ncnn(graph.frame, path), product)
        weights = self._weights.setdefault(plan.weights, SharedWeights(path.with_name(f"{plan.weights}{WEIGHTS}")))
        return Stored(path, write_graph(graph.frame, path, self._facts, weights), product)

    def _name(self, path: Path) -> str:
        """A file's name in the manifest."""
        return path.relative_to(self.folder).as_posix()
