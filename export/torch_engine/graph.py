"""Run an ONNX graph in torch, node by node, with each instance norm and its activation as one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import leaky_relu

from starcast.errors import EngineError
from starcast.export.graphs.facts import numbers, readers
from starcast.export.passes.adain_plugin import unplug_norms
from starcast.export.passes.dead_biases import drop_dead_biases
from starcast.export.passes.half import to_half
from starcast.export.passes.instance_norms import InstanceNorm, instance_norms
from starcast.export.passes.wide_norms import join_wide_norms
from starcast.export.torch_engine.fixed_sizes import fix_sizes
from starcast.export.torch_engine.operators import Call, call_for
from starcast.runtime.engines.base import Arrays, Session, closed_error, one_line
from starcast.train.adain import Implementation, adain_leaky_relu

HALF = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}


@dataclass(frozen=True)
class _Work:
    """A call, the values it reads and makes, and the values that nothing reads after it, all as places in a list."""

    call: Call
    reads: tuple[int | None, ...]
    makes: tuple[int, ...]
    dead: tuple[int, ...]


class TorchGraph:
    """A graph in float32, or converted to `fp16` or `bf16` between its first convolution and its last.

    Norm statistics, all work on the style, and the scaling of bytes stay in float32. `channels_last` lays out weights
    and images as tensor cores need them. Raises EngineError for an unknown operator, and OptionError for a weight too
    large for fp16.
    """

    def __init__(
        self, model: ir.Model, *, precision: str = "fp32", device: torch.device = torch.device("cpu"),
        adain: Implementation = "reference", channels_last: bool = False,
    ) -> None:  # fmt: skip
        unplug_norms(model)
        join_wide_norms(model)
        fix_sizes(model)
        if precision in HALF:
            to_half(model, HALF[precision])
        else:  # in torch, each bias costs a pass over memory; half keeps biases that centre planes, which saves digits
            drop_dead_biases(model)
        graph = model.graph
        calls = list(_calls(graph, adain))
        places = _places(graph, calls)
        self.inputs = {str(value.name): places[value] for value in graph.inputs if value in places}
        self._output = places[graph.outputs[0]]
        self._works = _works(calls, places, keep={self._output})
        weights = _weights_of_convolutions(graph) if channels_last else set()
        self._constants: list[Tensor | None] = [None] * len(places)
        for value, place in places.items():
            array = numbers(value)
            if array is not None:
                tensor = _tensor(array).to(device)
                last = value in weights
                self._constants[place] = tensor.contiguous(memory_format=torch.channels_last) if last else tensor

    def __call__(self, feeds: Mapping[str, Tensor]) -> Tensor:
        """Run the graph, and return its first output. `feeds` has every input by its name, on the device. Call it in
        inference mode."""
        values = list(self._constants)
        for name, place in self.inputs.items():
            values[place] = feeds[name]
        for work in self._works:
            result = work.call(*(None if place is None else values[place] for place in work.reads))
            outputs = result if isinstance(result, tuple | list) else (result,)
            for place, value in zip(work.makes, outputs, strict=True):
                values[place] = value
            for place in work.dead:
                values[place] = None
        result = values[self._output]
        assert result is not None
        return result


@dataclass(frozen=True)
class _Call:
    """A call and the graph's values that it reads and makes, before they have places in the list."""

    call: Call
    inputs: tuple[ir.Value | None, ...]
    outputs: tuple[ir.Value, ...]


def open_graph(path: Path, precision: str, device: torch.device, adain: Implementation) -> TorchGraph:
    """Load a graph with its weights on a device and its norms computed by `adain`.

    Raises EngineError, OptionError, and what torch raises.
    """
    try:
        model = ir.load(path)
    except (DecodeError, OSError) as error:
        raise EngineError(f"{path} cannot be read as ONNX ({one_line(error)}): export the bundle again") from error
    return TorchGraph(model, precision=precision, device=device, adain=adain, channels_last=device.type == "cuda")


class CpuSession(Session):
    """One graph on the CPU: its results are right, its speed means nothing."""

    def __init__(self, path: Path, graph: TorchGraph) -> None:
        self._path = path
        self._graph: TorchGraph | None = graph

    def run(self, feeds: Arrays) -> Any:
        if self._graph is None:
            raise closed_error(self._path)
        try:
            with torch.inference_mode():
                # a copy, as torch warns about read-only arrays
                inputs = {name: torch.tensor(value) for name, value in feeds.items()}
                return self._graph(inputs).numpy()
        except (RuntimeError, ValueError) as error:
            raise failure(self._path, error) from error

    def close(self) -> None:
        self._graph = None


def failure(path: Path, error: Exception) -> EngineError:
    """The error for a run that torch aborted."""
    return EngineError(f"torch failed in {path} ({one_line(error)}): try a smaller batch, or another --backend")


def _calls(graph: ir.Graph, adain: Implementation) -> Iterator[_Call]:
    """The calls in running order. A norm runs in place of its last node, when its scale and shift are ready."""
    fused = {_last(norm)[0]: norm for norm in instance_norms(graph)}
    within = {node for norm in fused.values() for node in norm.nodes}
    for node in graph:
        norm = fused.get(node)
        if norm is not None:
            last, slope = _last(norm)
            call = _adain(norm.epsilon, slope, adain)
            yield _Call(call, (norm.x, norm.scale, norm.shift), (last.outputs[0],))
        elif node not in within:
            yield _Call(call_for(node), tuple(node.inputs), tuple(node.outputs))


def _last(norm: InstanceNorm) -> tuple[ir.Node, float]:
    """The leaky ReLU after a norm, if nothing else reads the norm, and its slope; else the norm's last node, and 1."""
    behind = readers(norm.output)
    if len(behind) == 1 and behind[0].op_type == "LeakyRelu" and not norm.output.is_graph_output():
        return behind[0], behind[0].attributes.get_float("alpha", 0.01) or 0.0
    return norm.nodes[-1], 1.0


def _adain(epsilon: float, slope: float, implementation: Implementation) -> Call:
    def run(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        # [C], [1, C, 1, 1] or [N, C, 1, 1]; a single row serves all samples
        rows = (value.reshape(-1, x.shape[1]) for value in (scale, shift))
        affine = [row[0] if len(row) == 1 else row for row in rows]
        if len({row.dim() for row in affine}) > 1:
            affine = [row.expand(len(x), -1) for row in affine]
        if implementation == "triton":
            return adain_leaky_relu(x, *affine, eps=epsilon, slope=slope, implementation="triton")
        if x.shape[2] * x.shape[3] == 1:  # torch refuses a single pixel; its mean is itself, so only the shift is left
            shifts = affine[1] if affine[1].dim() == 2 else affine[1].expand(len(x), -1)
            return leaky_relu(shifts[:, :, None, None], slope).to(x.dtype)
        # torch's own norm needs one type for everything
        return adain_leaky_relu(x.float(), *affine, eps=epsilon, slope=slope).to(x.dtype)

    return run


def _places(graph: ir.Graph, calls: Sequence[_Call]) -> dict[ir.Value, int]:
    values = [
        *graph.inputs, *graph.outputs,
        *(value for call in calls for value in (*call.inputs, *call.outputs) if value is not None),
    ]  # fmt: skip
    return {value: place for place, value in enumerate(dict.fromkeys(values))}


def _works(calls: Sequence[_Call], places: Mapping[ir.Value, int], keep: set[int]) -> list[_Work]:
    last = {value: number for number, call in enumerate(calls) for value in (*call.inputs, *call.outputs)}
    return [
        _Work(
            call=call.call,
            reads=tuple(None if value is None else places[value] for value in call.inputs),
            makes=tuple(places[value] for value in call.outputs),
            dead=tuple(
                places[value]
                for value in dict.fromkeys((*call.inputs, *call.outputs))
                if value is not None and last[value] == number and places[value] not in keep
            ),
        )
        for number, call in enumerate(calls)
    ]  # fmt: skip


def _weights_of_convolutions(graph: ir.Graph) -> set[ir.Value | None]:
    return {node.inputs[1] for node in graph if node.op_type in {"Conv", "ConvTranspose"}}


def _tensor(array: Any) -> Tensor:
    """A weight as a tensor: a copy, because its file is mapped read-only."""
    if array.dtype.name == "bfloat16":
        return torch.tensor(array.view("int16")).view(torch.bfloat16)
    return torch.tensor(array)
