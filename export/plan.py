"""Plans a bundle's frame graphs: one plan for each, in the order they are made.

Engines differ in the form they run fastest. The tables below hold what was measured (`benchmarks/results/forms.json`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as ir

from starcast.errors import MissingExtraError, OptionError
from starcast.export.families.model import Model
from starcast.export.graphs.cost import Cost
from starcast.export.options import ExportOptions
from starcast.export.passes.forms import FORMS, PHASES, Step
from starcast.runtime.engines.ncnn import GRAPH_SUFFIX
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.variants import Adain, KeptLayer, Norm

NCNN_FORMS = ("taps9", "taps16")


@dataclass(frozen=True)
class Plan:
    """A frame graph to make, and the engines it is for."""

    form: str
    engines: tuple[str, ...]
    one_style: bool = False  # scale and shift are inputs of the norms themselves: one style for the whole batch
    ncnn: bool = False  # written in ncnn's own files
    precision: str = "fp32"
    rest: Literal["bf16"] | None = None  # precision of the layers that are not int8; None: float32
    norms: Adain = "native"  # anything but native is for TensorRT
    apart: bool = False  # a hint with a file of its own, because float32's takes means by tiles, which bf16 would round

    @property
    def name(self) -> str:
        """Its name in messages, such as `taps9-int8-bf16`."""
        norms = "" if self.norms == "native" else f"-{self.norms}"
        one_style, rest = "-one-style" if self.one_style else "", f"-{self.rest}" if self.rest else ""
        return f"{self.form}{norms}{one_style}-{self.precision}{rest}"

    @property
    def is_hint(self) -> bool:
        """Whether it is a float32 graph, which its engine runs in bf16."""
        return self.precision == "bf16" and self.norms == "native"

    @property
    def file(self) -> str:
        """The file name of its graph. A hint shares the file of the float32 graph, unless it is `apart`."""
        stem = replace(self, precision="fp32").name if self.is_hint and not self.apart else self.name
        return f"{stem}{GRAPH_SUFFIX if self.ncnn else '.onnx'}"

    @property
    def weights(self) -> str:
        """The file name, without suffix, of its large weights.

        Float32 graphs share one file, and so do int8 graphs that differ only in `rest`. Separate files spare a runtime
        that opens one variant from hashing the others' weights.
        """
        if self.norms != "native":
            return self.name
        return replace(self, rest=None).name if self.precision == "int8" else "weights"


@dataclass(frozen=True)
class FrameGraph:
    """The graph made for a plan.

    `product` turns a style into scales and shifts, for a frame with those as input. `cost` is for one image of the
    trained size; an int8 graph's FLOP are those of its convolutions in float32. `kept`: layers that are not quantised.
    `to_blame`: the quantised layers that lose the most, worst first.
    """

    plan: Plan
    frame: ir.Model
    product: ir.Model | None
    steps: tuple[Step, ...]
    cost: Cost
    norms: tuple[Norm, ...] = ()
    kept: tuple[KeptLayer, ...] = ()
    to_blame: tuple[str, ...] = ()


# The form that an engine runs fastest.
PREFERRED = {
    "openvino": Plan("taps9", ("openvino",)),
    "onnxruntime": Plan("taps9", ("onnxruntime",), one_style=True),
    "ncnn": Plan("taps9", ("ncnn", "ncnn-vulkan"), ncnn=True),
    "tensorrt": Plan("taps16", ("tensorrt", "tensorrt-rtx"), norms="fused"),
}
# The form that an engine runs fastest in int8. CPU time of a 256 px frame (AFHQ sizes) on a Zen 4 core with VNNI,
# relative to the same engine's float32 taps9: OpenVINO taps9 0.34, taps16 0.36, phases 0.37; ONNX Runtime phases 0.44.
INT8_FORMS = {"openvino": "taps9", "onnxruntime": "phases"}
INT8_RESTS: dict[str, tuple[Literal["bf16"] | None, ...]] = {"openvino": ("bf16", None), "onnxruntime": (None,)}


def plans_for(options: ExportOptions) -> list[Plan]:
    """A plan for every graph the options ask for, in the bundle's order. Raises OptionError and MissingExtraError."""
    float32 = float32_plans(options.backends, options.forms, options.adain)
    native = [plan for plan in float32 if plan.norms == "native"]
    fused = [plan for plan in float32 if plan.norms != "native"]
    return [*native, *_smaller(native, options.precision), *_for_tensorrt(fused, options.precision)]


def select_plans(plans: Sequence[Plan], model: Model) -> list[Plan]:
    """The plans that fit a model. Without a source, each image has its own style and there are no norms, so engines
    that run plain ONNX share their graphs, and TensorRT's are alike for every `--adain-forms`."""
    if model.stride is not None:
        return list(plans)
    suited: dict[Plan, tuple[str, ...]] = {}
    for plan in plans:
        if plan.norms == "native":
            alike, names = replace(plan, one_style=False, engines=()), plan.engines
        else:
            alike, names = replace(plan, norms="fused", engines=()), PREFERRED["tensorrt"].engines
        engines = suited.get(alike, ())
        suited[alike] = (*engines, *(name for name in names if name not in engines))
    return [replace(plan, engines=engines) for plan, engines in suited.items()]


def float32_plans(engines: Sequence[str], forms: Sequence[str], adain: Sequence[str] = ("fused",)) -> list[Plan]:
    """The float32 plans for these engines, or for the usual ones if none are named.

    They use each engine's own form, unless `forms` names some for all of them. `adain` affects only TensorRT.
    Raises OptionError and MissingExtraError.
    """
    unknown = [name for name in engines if name not in PREFERRED]
    if unknown:
        raise OptionError(f"--for is {', '.join(unknown)}: give one or several of {', '.join(PREFERRED)}")
    ncnn = ENGINES["ncnn"]
    absence = ncnn.absent() if "ncnn" in engines else None
    if absence is not None:
        raise MissingExtraError(
            f"a graph for ncnn is compared with PyTorch in ncnn, which is {absence.reason}"
            f"{absence.remedy(ncnn.install_line)}"
        )
    for form in forms:
        if form not in FORMS:
            raise OptionError(f"--forms is {form!r}: give one or several of {', '.join(FORMS)}")
    wanted = dict.fromkeys(engines or usual_engines())
    preferred = [plan for name in wanted for plan in _with_adain(PREFERRED[name], adain)]
    if not forms:
        return preferred
    if "ncnn" in engines and not set(forms) & set(NCNN_FORMS):
        raise OptionError(
            f"--forms has no form that ncnn can run: add one of {', '.join(NCNN_FORMS)}, or leave ncnn out of --for"
        )
    # one graph serves both engines that run plain ONNX; ncnn has its own files, in the forms that its operators
    # support, and TensorRT its own norms
    onnx = tuple(name for plan in preferred if not plan.ncnn and plan.norms == "native" for name in plan.engines)
    in_onnx = [Plan(form, onnx) for form in dict.fromkeys(forms) if onnx]
    in_ncnn = [replace(plan, form=form) for plan in preferred if plan.ncnn for form in forms if form in NCNN_FORMS]
    fused = [replace(plan, form=form) for plan in preferred if plan.norms != "native" for form in dict.fromkeys(forms)]
    return in_onnx + in_ncnn + fused


def usual_engines() -> tuple[str, ...]:
    """The engines to export for by default: the CPU engines that the gate can run on this machine."""
    return tuple(
        name for name in PREFERRED if name != "tensorrt" and (name != "ncnn" or ENGINES["ncnn"].absent() is None)
    )


def engine_names(plan: Plan) -> list[str]:
    """The engines that a plan is for, as `--for` names them."""
    return [name for name in plan.engines if name in PREFERRED]


def form_for(form: str, precision: str) -> str:
    """The form to use in a precision. TensorRT for RTX has no transposed convolution in bf16 ("could not infer output
    types"), so `phases` replaces a form that has one."""
    return PHASES if precision == "bf16" and form in {"taps9", "taps16"} else form


def _with_adain(plan: Plan, adain: Sequence[str]) -> list[Plan]:
    """A TensorRT plan once for each way to write AdaIN; any other plan unchanged. Only full TensorRT has plugins."""
    if plan.norms == "native":
        return [plan]
    ways = {
        "fused": plan, "plugin": replace(plan, engines=("tensorrt",), norms="plugin"),
        "unfused": replace(plan, norms="unfused"),
    }  # fmt: skip
    return [ways[name] for name in dict.fromkeys(adain)]


def _smaller(native: Sequence[Plan], precisions: Sequence[str]) -> Iterator[Plan]:
    """The CPU engines' plans below float32: bf16 as a hint on the same graph, and int8 in the form that suits it."""
    if "bf16" in precisions:
        for plan in native:
            if "openvino" in plan.engines:
                yield replace(plan, precision="bf16", engines=("openvino",))
    if "int8" in precisions:
        for engine in dict.fromkeys(name for plan in native for name in plan.engines if name in INT8_FORMS):
            plan = replace(PREFERRED[engine], form=INT8_FORMS[engine], engines=(engine,), precision="int8")
            yield from (replace(plan, rest=rest) for rest in INT8_RESTS[engine])


def _for_tensorrt(fused: Sequence[Plan], precisions: Sequence[str]) -> Iterator[Plan]:
    """TensorRT's plans, float32 first. In float32 the engine's own norms are used anyway, so "unfused" is left out."""
    yield from dict.fromkeys(
        replace(plan, form=form_for(plan.form, precision), precision=precision)
        for precision in dict.fromkeys(("fp32", *precisions))
        for plan in fused
        if (precision, plan.norms) != ("fp32", "unfused")
    )
