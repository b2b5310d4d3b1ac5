"""The bundle's folder: checks that it may be written, and fills it with graphs, shared weights and manifest entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import ReferenceType, ref

import onnx_ir as ir

from starcast.atomic import repair_folder
from starcast.errors import BundleError
from starcast.export.gate.quality import Verdict
from starcast.export.graphs.files import WEIGHTS, SharedWeights, write_graph
from starcast.export.plan import FrameGraph, Plan
from starcast.export.targets.ncnn import write_ncnn
from starcast.runtime.bundle import listed_files
from starcast.runtime.manifest import GraphFiles
from starcast.runtime.variants import Variant

GENERATOR, STYLE_PRODUCT = "generator", "style_product.onnx"
LEFT_BY_THE_SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini"}
SHOWN = 3  # names of foreign files in an error


def writable_target(bundle: Path) -> Path:
    """The folder to write, links resolved. Raises BundleError if writing would delete files that are not a bundle's."""
    target = Path(bundle).resolve()
    repair_folder(target)
    if not target.exists():
        return target
    if not target.is_dir():
        raise BundleError(f"{bundle} is a file: give a folder for the bundle")
    present = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    own = listed_files(target)
    foreign = sorted(name for name in present - own if Path(name).name not in LEFT_BY_THE_SYSTEM)
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        what = "a bundle with files that are not its own" if own else "a folder that is not a bundle"
        raise BundleError(
            f"{bundle} is {what} ({', '.join(foreign[:SHOWN])}{more}), which would be lost: give another folder, or "
            "move them away"
        )
    return target


@dataclass(frozen=True)
class Stored:
    """The files of a written frame graph. `product` turns styles into scales and shifts, for graphs that need those."""

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
        # by the graph's file name; weak references, because ncnn's graphs hold all of their weights in memory
        self._written: dict[str, tuple[ReferenceType[ir.Model], Stored]] = {}
        (folder / GENERATOR).mkdir()

    @property
    def product(self) -> GraphFiles | None:
        """The graph that turns styles into scales and shifts, if a frame graph needs those."""
        return GraphFiles(graph=STYLE_PRODUCT) if (self.folder / STYLE_PRODUCT).exists() else None

    def write(self, graph: FrameGraph) -> Stored:
        """Write a graph's files, unless they already hold this graph. Raises EngineError for a node that ncnn lacks."""
        name = graph.plan.file
        if name not in self._written or self._written[name][0]() is not graph.frame:
            self._written[name] = ref(graph.frame), self._write(graph)
        return self._written[name][1]

    def restart(self, plan: Plan) -> None:
        """Remove the weights written for a plan, because another attempt will replace them."""
        if plan.weights in self._weights:
            self._weights.pop(plan.weights).path.unlink(missing_ok=True)

    def discard(self, graph: FrameGraph) -> None:
        """Remove the files of a graph that did not pass, if there are any, except weights that other variants share."""
        if graph.plan.file not in self._written:
            return
        _, stored = self._written.pop(graph.plan.file)
        used = {name for variant in self.variants for name in (variant.file, *variant.weights)}
        for path in (stored.path, *stored.weights):
            if self._name(path) not in used:
                path.unlink(missing_ok=True)
        if not any(self._name(path) in used for path in stored.weights):
            self._weights.pop(graph.plan.weights, None)

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
            # All forms share one product. If a form needed another, the gate would run it with this one and reject it.
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
