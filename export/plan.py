"""Which frame graphs a bundle gets, and how each is made from the one that was traced.

Engines differ in what they run fastest. The table below holds what was measured (`benchmarks/results/forms.json`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as ir

from starcast.errors import MissingExtraError, OptionError
from starcast.export.gate.candidates import Floats, OnnxCandidate, Trial, difference
from starcast.export.passes.forms import FORMS, Step, apply_form
from starcast.export.passes.rule import apply_rules
from starcast.export.passes.style_products import join_style_products
from starcast.export.passes.style_split import StyleInNorm, split_off_style
from starcast.export.passes.wide_norms import split_wide_norms
from starcast.export.targets.ncnn_graph import PARAM
from starcast.runtime.engines.registry import ENGINES

PLAIN = "plain"
NCNN_FORMS = ("taps9", "taps16")


@dataclass(frozen=True)
class Plan:
    """A frame graph that is to be made, and the engines it is for."""

    form: str
    backends: tuple[str, ...]
    one_style: bool = False  # scale and shift as the norms' own inputs: one style for the whole batch
    ncnn: bool = False  # written in ncnn's own form
    precision: str = "fp32"
    rest: Literal["bf16"] | None = None  # beside int8: see Variant
    # the engine's; and for TensorRT: spelled for its compiler, a node for our kernel, or its own, to compare with
    norms: Literal["native", "fused", "plugin", "unfused"] = "native"

    @property
    def name(self) -> str:
        """What its file is called, without a suffix."""
        norms = "" if self.norms == "native" else f"-{self.norms}"
        one_style, rest = "-one-style" if self.one_style else "", f"-{self.rest}" if self.rest else ""
        return f"{self.form}{norms}{one_style}-{self.precision}{rest}"

    @property
    def file(self) -> str:
        """What its file is called."""
        return f"{self.name}{PARAM if self.ncnn else '.onnx'}"


# The form that an engine runs fastest.
PREFERRED = {
    "openvino": Plan("taps9", ("openvino",)),
    "onnxruntime": Plan("taps9", ("onnxruntime",), one_style=True),
    "ncnn": Plan("taps9", ("ncnn", "ncnn-vulkan"), ncnn=True),
    "tensorrt": Plan("taps16", ("tensorrt", "tensorrt-rtx"), norms="fused"),
}


@dataclass(frozen=True)
class Made:
    """A frame graph, the graph that makes scales and shifts of styles where it takes those, and what was rewritten."""

    plan: Plan
    frame: ir.Model
    product: ir.Model | None
    steps: tuple[Step, ...]


def usual_engines() -> tuple[str, ...]:
    """What a bundle is for where nobody says: the processor's engines that can be checked here."""
    return tuple(
        name for name in PREFERRED if name != "tensorrt" and (name != "ncnn" or ENGINES["ncnn"].absent() is None)
    )


def plans_for(backends: Sequence[str], forms: Sequence[str], adain: Sequence[str] = ("spelled",)) -> list[Plan]:
    """The float32 graphs for those engines, or for the usual ones: each one's own form, or `forms` for all. `adain` is
    for TensorRT's. Raises OptionError and MissingExtraError.
    """
    unknown = [name for name in backends if name not in PREFERRED]
    if unknown:
        raise OptionError(f"--for is {', '.join(unknown)}: give one or several of {', '.join(PREFERRED)}")
    ncnn = ENGINES["ncnn"]
    absence = ncnn.absent() if "ncnn" in backends else None
    if absence is not None:
        raise MissingExtraError(
            f"a graph for ncnn is compared with PyTorch in ncnn, which is {absence.reason}"
            f"{absence.remedy(ncnn.install_line)}"
        )
    asked, backends = backends, backends or usual_engines()
    for form in forms:
        if form not in FORMS:
            raise OptionError(f"--forms is {form!r}: give one or several of {', '.join(FORMS)}")
    preferred = [plan for name in dict.fromkeys(backends) for plan in _with_adain(PREFERRED[name], adain)]
    if not forms:
        return preferred
    if "ncnn" in asked and not set(forms) & set(NCNN_FORMS):
        raise OptionError(
            f"--forms names none that ncnn runs: add one of {', '.join(NCNN_FORMS)}, or leave ncnn out of --for"
        )
    # one graph serves both engines that take any ONNX; ncnn has its own, in the forms that it has the operators for,
    # and TensorRT its own norms
    onnx = tuple(name for plan in preferred if not plan.ncnn and plan.norms == "native" for name in plan.backends)
    in_onnx = [Plan(form, onnx) for form in dict.fromkeys(forms) if onnx]
    in_ncnn = [replace(plan, form=form) for plan in preferred if plan.ncnn for form in forms if form in NCNN_FORMS]
    fused = [replace(plan, form=form) for plan in preferred if plan.norms != "native" for form in dict.fromkeys(forms)]
    return in_onnx + in_ncnn + fused


def _with_adain(plan: Plan, adain: Sequence[str]) -> list[Plan]:
    """TensorRT's plan in each of the ways that AdaIN is asked in; full TensorRT alone has plugins."""
    if plan.norms == "native":
        return [plan]
    ways = {
        "spelled": plan, "plugin": replace(plan, backends=("tensorrt",), norms="plugin"),
        "unfused": replace(plan, norms="unfused"),
    }  # fmt: skip
    return [ways[name] for name in dict.fromkeys(adain)]


def make(traced: ir.Model, plan: Plan, side: int, without: Sequence[str] = ()) -> Made:
    """Rewrite a copy of the traced frame graph for pictures that are mostly `side` pixels wide."""
    frame = traced.clone()
    return finished(frame, plan, tuple(apply_form(frame, plan.form, without)), side)


def finished(frame: ir.Model, plan: Plan, steps: tuple[Step, ...], side: int) -> Made:
    """What comes after the rewrites, in place: the style's work is split off, and norms get their last spelling."""
    if plan.ncnn:
        join_style_products(frame)  # also where that was left out: ncnn has no other way to take a style
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
