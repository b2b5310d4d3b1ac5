"""Which frame graphs a bundle gets, and how each is made from the one that was traced.

Engines differ in what they run fastest. The table below holds what was measured (`benchmarks/results/forms.json`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from starcast.errors import OptionError
from starcast.export.comparison import Floats, OnnxCandidate, Trial, difference
from starcast.export.passes.forms import FORMS, Step, apply_form
from starcast.export.passes.rule import apply_rules
from starcast.export.passes.style_split import StyleInNorm, split_off_style
from starcast.export.wide_norms import split_wide_norms

PLAIN = "plain"


@dataclass(frozen=True)
class Plan:
    """A frame graph that is to be made, and the engines it is for."""

    form: str
    backends: tuple[str, ...]
    one_style: bool = False  # scale and shift as the norms' own inputs: one style for the whole batch

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.form}{'-one-style' if self.one_style else ''}-fp32"


# The form that an engine runs fastest.
PREFERRED = {
    "openvino": Plan("taps9", ("openvino",)),
    "onnxruntime": Plan("taps9", ("onnxruntime",), one_style=True),
}


@dataclass(frozen=True)
class Made:
    """A frame graph, the graph that makes scales and shifts of styles where it takes those, and what was rewritten."""

    plan: Plan
    frame: ir.Model
    product: ir.Model | None
    steps: tuple[Step, ...]


def plans_for(backends: Sequence[str], forms: Sequence[str]) -> list[Plan]:
    """The graphs for those engines: each one's own form, or `forms` for all of them. Raises OptionError."""
    unknown = [name for name in backends if name not in PREFERRED]
    if unknown or not backends:
        raise OptionError(f"--for is {', '.join(unknown) or 'empty'}: give one or several of {', '.join(PREFERRED)}")
    for form in forms:
        if form not in FORMS:
            raise OptionError(f"--form is {form!r}: give one or several of {', '.join(FORMS)}")
    if forms:
        return [Plan(form, tuple(backends)) for form in dict.fromkeys(forms)]
    together: dict[tuple[str, bool], list[str]] = {}
    for name in dict.fromkeys(backends):
        plan = PREFERRED[name]
        together.setdefault((plan.form, plan.one_style), []).append(name)
    return [Plan(form, tuple(names), one_style) for (form, one_style), names in together.items()]


def make(traced: ir.Model, plan: Plan, side: int, without: Sequence[str] = ()) -> Made:
    """Rewrite a copy of the traced frame graph for pictures that are mostly `side` pixels wide."""
    frame = traced.clone()
    steps = tuple(apply_form(frame, plan.form, without))
    product = split_off_style(frame) if plan.form != PLAIN else None
    split_wide_norms(frame, side)
    if plan.one_style and product is not None:
        apply_rules(frame, StyleInNorm)
        given = frame.graph.inputs[-1]
        assert given.shape is not None
        given.shape = ir.Shape([1, *list(given.shape)[1:]])
    return Made(plan, frame, product, steps)


def first_step_apart(traced: ir.Model, made: Made, trial: Trial, expected: Floats, tolerance: float) -> str:
    """The first rewrite after which a graph differs from PyTorch's picture `expected` by more than the tolerance."""
    frame = traced.clone()
    for step in made.steps:
        step.rewrite.apply(frame)
        unrounded = OnnxCandidate(frame.clone()).unrounded(trial)
        if difference((unrounded - 127.5) / 127.5, expected) > tolerance:
            return f"the rewrite {step.rewrite.name} (leave it out with --without {step.rewrite.name})"
    return "the steps after the rewrites"
