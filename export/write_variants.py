"""The frame graphs of a bundle, one after the other: rewritten, written, compared with PyTorch, described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import onnx_ir as ir
from torch import nn

from starcast.export.families.model import Model
from starcast.export.gate.blame import first_layer_apart
from starcast.export.gate.candidates import (
    Candidate,
    Floats,
    NcnnCandidate,
    OnnxCandidate,
    Trial,
    difference,
    translated_by_torch,
)
from starcast.export.gate.parity import (
    TOLERANCE,
    check_generator,
    expected_translations,
    flat_trials,
    levels_apart,
    make_trials,
)
from starcast.export.graphs.files import write_graph, write_ncnn
from starcast.export.graphs.weights import WEIGHTS, SharedWeights
from starcast.export.plan import Made, Plan, first_step_apart, make
from starcast.export.progress import Progress, stage
from starcast.export.rewrite_report import Cost, rewrite_lines
from starcast.runtime.manifest import Parity, Variant

GENERATOR, STYLE_PRODUCT = "generator", "style_product.onnx"


@dataclass(frozen=True)
class Making:
    """What all variants of a bundle are made from, and where they go. `facts` go into every ONNX file."""

    folder: Path
    traced: ir.Model
    model: Model
    facts: Mapping[str, str]
    without: tuple[str, ...]
    progress: Progress


@dataclass(frozen=True)
class ParityGate:
    """Pictures that every float32 variant is compared on, and PyTorch's translations of them."""

    trials: list[Trial]
    expected: list[Floats]
    flat: list[Trial]
    expected_flat: list[Floats]


def parity_gate(making: Making) -> ParityGate:
    """Translate the gate's pictures with PyTorch. Raises ParityError where that gives no pictures."""
    model = making.model
    with stage(making.progress, "translated the gate's pictures with PyTorch"):
        trials, flat = make_trials(model), flat_trials(model)
        return ParityGate(
            trials, expected_translations(model.generator, trials),
            flat, [translated_by_torch(model.generator, trial) for trial in flat],
        )  # fmt: skip


def write_variants(making: Making, plans: Sequence[Plan], gate: ParityGate) -> tuple[Variant, ...]:
    """Write the graphs of those plans into the folder. Raises ParityError, EngineError."""
    weights = SharedWeights(making.folder / GENERATOR / f"weights{WEIGHTS}")
    before = Cost.of(making.traced, making.model.side)
    told: set[str] = set()  # forms whose rewrites have been reported
    variants = []
    for plan in plans:
        made = make(making.traced, plan, making.model.side, making.without)
        cost = Cost.of(made.frame, making.model.side)
        if plan.form not in told:
            told.add(plan.form)
            making.progress(f"form {plan.form}")
            for line in rewrite_lines(made.steps, before, cost):
                making.progress(f"  {line}")
        variants.append(_write(making, made, cost, gate, weights))
    return tuple(variants)


def _write(making: Making, made: Made, cost: Cost, gate: ParityGate, weights: SharedWeights) -> Variant:
    plan = made.plan
    with stage(making.progress, f"{plan.file}: written, and compared with PyTorch"):
        path, beside = written(making, made, weights)
        candidate = _candidate(making, made, path)
        parity = parity_of(making, made, candidate, gate)
    making.progress(f"  {parity_line(parity)}")
    return Variant(
        **named(making.folder, path, beside), engines=plan.backends, form=plan.form, precision="fp32",
        condition="style" if made.product is None else "gamma_beta", one_style=plan.one_style,
        parity=parity, flop=cost.flop, bytes=cost.weights + path.stat().st_size, working=cost.working,
        rewrites={step.rewrite.name: step.outcome.fired for step in made.steps},
    )  # fmt: skip


def written(making: Making, made: Made, weights: SharedWeights) -> tuple[Path, tuple[Path, ...]]:
    """The file of a frame graph, and those of its weights. The style's product is written beside the first graph that
    needs it.

    All forms have the same one. If one had another, the gate would run it with the first's and refuse it.
    """
    product = making.folder / STYLE_PRODUCT
    if made.product is not None and not product.exists():
        write_graph(made.product, product, making.facts)
    path = making.folder / GENERATOR / made.plan.file
    if made.plan.ncnn:
        return path, write_ncnn(made.frame, path)
    return path, write_graph(made.frame, path, making.facts, weights)


def named(folder: Path, graph: Path, weights: Sequence[Path]) -> dict[str, Any]:
    """A variant's `file` and `weights`, as the manifest has them."""
    return {
        "file": graph.relative_to(folder).as_posix(),
        "weights": tuple(path.relative_to(folder).as_posix() for path in weights),
    }


def _candidate(making: Making, made: Made, path: Path) -> Candidate:
    """What runs a file for the gate."""
    product = making.folder / STYLE_PRODUCT if made.product is not None else None
    if made.plan.ncnn:
        assert product is not None
        return NcnnCandidate(path, product)
    return OnnxCandidate(path, product, one_style=made.plan.one_style)


def parity_line(parity: Parity) -> str:
    """What the gate measured, for people."""
    return (
        f"generator against PyTorch: {parity.worst:.1e}, bytes within {parity.levels} "
        f"(on pictures of one colour {parity.flat_levels}), batches of {', '.join(map(str, parity.batches))}"
    )


def parity_of(making: Making, made: Made, candidate: Candidate, gate: ParityGate) -> Parity:
    """Compare a float32 graph with PyTorch. Raises ParityError, which names the rewrite or the layer to blame."""
    blame = partial(_blame, making.traced, made, making.model.generator)
    parity = check_generator(candidate, made.plan.name, gate.trials, gate.expected, blame)
    flat_levels = levels_apart(candidate, gate.flat, gate.expected_flat)
    return msgspec.structs.replace(parity, flat_levels=flat_levels)


def _blame(traced: ir.Model, made: Made, generator: nn.Module, trial: Trial) -> str:
    """The layer or the rewrite that a graph goes wrong at."""
    expected = translated_by_torch(generator, trial)
    unrounded = OnnxCandidate(traced.clone()).unrounded(trial)
    if difference((unrounded - 127.5) / 127.5, expected) > TOLERANCE:
        return first_layer_apart(traced.clone(), generator, trial, TOLERANCE)
    return first_step_apart(traced, made, trial, expected, TOLERANCE)
