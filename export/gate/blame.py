"""Finds the layer or rewrite where a graph starts to differ from PyTorch, for the gate's message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import nn

from starcast.export.gate.candidates import Floats, OnnxCandidate, Trial, difference, open_session, translate_with_torch
from starcast.export.gate.reference import from_levels
from starcast.export.passes.forms import Step


def where_apart(traced: ir.Model, steps: Sequence[Step], generator: nn.Module, trial: Trial, tolerance: float) -> str:
    """The layer at which the traced graph differs from PyTorch, or else the first rewrite that makes it differ."""
    expected = translate_with_torch(generator, trial)
    if _differs(traced, trial, expected, tolerance):
        return first_layer_apart(traced.clone(), generator, trial, tolerance)
    return first_step_apart(traced, steps, trial, expected, tolerance)


def first_step_apart(traced: ir.Model, steps: Sequence[Step], trial: Trial, expected: Floats, tolerance: float) -> str:
    """The first rewrite after which the graph differs from PyTorch's translations `expected` by more than the
    tolerance."""
    frame, one_style = traced.clone(), False
    for step in steps:
        step.rewrite.apply(frame)
        one_style = one_style or step.rewrite.one_style
        if _differs(frame, trial, expected, tolerance, one_style=one_style):
            return f"the rewrite {step.rewrite.name} (leave it out with --without {step.rewrite.name})"
    return "the steps after the rewrites"


def first_layer_apart(model: ir.Model, generator: nn.Module, trial: Trial, tolerance: float) -> str:
    """The first layer, in running order, whose output differs from PyTorch's by more than the tolerance.

    Compares the nodes that are named after a module of the network. If none differs, the steps after them are to
    blame.
    """
    expected = _layer_outputs(generator, trial)
    layers = [node for node in model.graph if node.name in expected]
    for node in layers:
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs.extend(node.outputs[0] for node in layers)
    names = [node.outputs[0].name for node in layers]
    outputs = open_session(model).run(names, trial.feeds)
    for node, output in zip(layers, outputs, strict=True):
        assert node.name is not None
        reference = expected[node.name]
        if reference.shape != output.shape or difference(output, reference) > tolerance:
            return f"the layer {node.name}"
    return "the steps after the last layer"


def _differs(
    frame: ir.Model, trial: Trial, expected: Floats, tolerance: float, *, one_style: bool = False
) -> bool:  # fmt: skip
    unrounded = OnnxCandidate(frame.clone(), one_style=one_style).translate_unrounded(trial)
    return difference(from_levels(unrounded), expected) > tolerance


def _layer_outputs(generator: nn.Module, trial: Trial) -> dict[str, NDArray[Any]]:
    """PyTorch's output of every layer with weights, by the layer's path."""
    outputs: dict[str, NDArray[Any]] = {}

    def keep(name: str) -> Any:
        def hook(_module: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            outputs[name] = output.numpy()

        return hook

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in generator.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    try:
        translate_with_torch(generator, trial)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs
