"""Which layer a wrong graph goes wrong at, for the gate's message."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import nn

from starcast.export.gate.candidates import Trial, difference, open_session, translated_by_torch


def first_layer_apart(model: ir.Model, generator: nn.Module, trial: Trial, tolerance: float) -> str:
    """The first layer, in running order, whose output differs from PyTorch's by more than the tolerance.

    Nodes that are a module of the network bear its name: those are compared. Where none differs, what comes after
    them does.
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


def _layer_outputs(generator: nn.Module, trial: Trial) -> dict[str, NDArray[Any]]:
    """What every layer with weights gives in PyTorch, by its path."""
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
        translated_by_torch(generator, trial)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs
