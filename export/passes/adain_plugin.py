"""Instance norms as one node each, leaky ReLU included, for an engine that has a kernel for them.

    LeakyRelu(InstanceNorm(x) * scale + shift)   ->   starcast.AdainLeakyRelu(x, scale, shift; epsilon, slope)

`scale` and `shift` are float32: [N or 1, C] from a style, or [C] from a norm's own weights. x and y have the graph's
type, the statistics are float32. A slope of 1 means no activation. Full TensorRT finds its plugin by the node's name
and `plugin_namespace`. For engines without the plugin, `with_function` defines the node in plain ONNX, and
`unplug_norms` restores the original norms.
"""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from starcast.export.graphs.facts import add_constant, neutral_weights, numbers, readers
from starcast.export.passes.instance_norms import InstanceNorm, instance_norms

DOMAIN, OPERATOR = "starcast", "AdainLeakyRelu"

_MEANING = f"""
<domain: "{DOMAIN}", opset_import: ["": 18]>
{OPERATOR} <epsilon, slope, plugin_namespace> (x, scale, shift) => (y)
{{
    planes = Constant <value_ints: ints = [2, 3]> ()
    behind = Constant <value_ints: ints = [-2, -1]> ()
    small = Constant <value_float: float = @epsilon> ()
    mean = ReduceMean (x, planes)
    centred = Sub (x, mean)
    squares = Mul (centred, centred)
    variance = ReduceMean (squares, planes)
    raised = Add (variance, small)
    std = Sqrt (raised)
    scales = Unsqueeze (scale, behind)
    shifts = Unsqueeze (shift, behind)
    factor = Div (scales, std)
    scaled = Mul (centred, factor)
    moved = Add (scaled, shifts)
    y = LeakyRelu <alpha: float = @slope> (moved)
}}
"""


def plug_norms(model: ir.Model) -> int:
    """Rewrite every instance norm of a frame graph, in place, and return how many there were.

    The graph may be in float32, or as `to_half` leaves it.
    """
    norms = list(instance_norms(model.graph))
    for norm in norms:
        _plug(model.graph, norm)
    if norms:
        model.graph.opset_imports[DOMAIN] = 1
    RemoveUnusedNodesPass()(model)
    return len(norms)


def with_function(model: ir.Model) -> ir.Model:
    """A copy of a float32 graph that defines the node as a function, for engines that have no kernel."""
    result = model.clone()
    function = ir.serde.deserialize_function(onnx.parser.parse_function(_MEANING))
    result.functions[function.identifier()] = function
    return result


def unplug_norms(model: ir.Model) -> int:
    """Undo `plug_norms` in a float32 graph, in place, and return how many norms there were."""
    nodes = [node for node in model.graph if (node.domain, node.op_type) == (DOMAIN, OPERATOR)]
    if not nodes:
        return 0
    inferred = model.clone()
    ShapeInferencePass()(inferred)
    twins = [node for node in inferred.graph if (node.domain, node.op_type) == (DOMAIN, OPERATOR)]
    for node, twin in zip(nodes, twins, strict=True):
        _unplug(model.graph, node, _channels(twin))
    return len(nodes)


def _channels(node: ir.Node) -> int:
    """The channels, from the scale's last axis: ONNX cannot infer this node's output shape."""
    scale = node.inputs[1]
    assert scale is not None
    assert scale.shape is not None
    count = scale.shape[-1]
    assert isinstance(count, int)
    return count


def _unplug(graph: ir.Graph, fused: ir.Node, channels: int) -> None:
    def add(operator: str, *inputs: ir.Value | None, **attributes: float) -> ir.Value:
        node = ir.node(operator, inputs, attributes, name=f"{fused.name}.{operator}")
        [output] = node.outputs
        output.name, output.type, output.shape = node.name, fused.outputs[0].type, fused.outputs[0].shape
        graph.insert_before(fused, node)
        return output

    x, *own = fused.inputs
    epsilon, slope = (fused.attributes[name].as_float() for name in ("epsilon", "slope"))
    if all(value is not None and value.shape is not None and value.shape.rank() == 1 for value in own):
        norm = add("InstanceNormalization", x, *own, epsilon=epsilon)
    else:
        axes = add_constant(graph, "axes.2.3", np.array([2, 3], np.int64))
        norm = add("InstanceNormalization", x, *neutral_weights(graph, channels), epsilon=epsilon)
        for operator, value in zip(("Mul", "Add"), own, strict=True):
            column = ir.node("Unsqueeze", [value, axes], name=f"{fused.name}.{operator}.column")
            column.outputs[0].name = column.name
            column.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            graph.insert_before(fused, column)
            norm = add(operator, norm, column.outputs[0])
    if slope != 1:
        norm = add("LeakyRelu", norm, alpha=slope)
    norm.name = fused.outputs[0].name
    fused.outputs[0].replace_all_uses_with(norm, replace_graph_outputs=True)
    graph.remove(fused, safe=True)


def _plug(graph: ir.Graph, norm: InstanceNorm) -> None:
    last, slope = norm.nodes[-1], 1.0
    behind = readers(norm.output)
    if len(behind) == 1 and behind[0].op_type == "LeakyRelu" and not norm.output.is_graph_output():
        slope = behind[0].attributes.get_float("alpha", 0.01) or 0.0
        last = behind[0]
    scale, shift = (_per_channel(graph, value, last) for value in (norm.scale, norm.shift))
    attributes: dict[str, float | str] = {"epsilon": norm.epsilon, "slope": slope, "plugin_namespace": DOMAIN}
    node = ir.node(OPERATOR, [norm.x, scale, shift], attributes, domain=DOMAIN, name=f"{norm.name}.fused")
    old, [output] = last.outputs[0], node.outputs
    output.name, output.shape = old.name, old.shape
    output.type = norm.x.type or ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(last, node)
    old.replace_all_uses_with(output, replace_graph_outputs=True)
    graph.remove([last] if last is not norm.nodes[-1] else [], safe=True)
    graph.remove(reversed(norm.nodes), safe=True)


def _per_channel(graph: ir.Graph, value: ir.Value, before: ir.Node) -> ir.Value:
    """[N, C, 1, 1] as [N, C]; [C] as it is."""
    array = numbers(value)
    if array is not None:
        flat = array if array.ndim == 1 else array.reshape(array.shape[:2])
        return add_constant(graph, f"{value.name}.flat", flat.astype("float32"))
    axes = add_constant(graph, "axes.2.3", np.array([2, 3], np.int64))
    squeezed = ir.node("Squeeze", [value, axes], name=f"{value.name}.flat")
    squeezed.outputs[0].name, squeezed.outputs[0].type = squeezed.name, ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(before, squeezed)
    return squeezed.outputs[0]
