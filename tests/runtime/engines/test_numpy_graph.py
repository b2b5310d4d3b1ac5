"""Graphs of matrix products in NumPy, beside ONNX Runtime."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_graphs import graph

from starcast.errors import EngineError
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.numpy_graph import open_in_numpy
from starcast.runtime.engines.registry import ENGINES

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 4)).astype(np.float32)
WEIGHTS = RANDOM.normal(size=(4, 5))
TRANSPOSED = RANDOM.normal(size=(5, 4))
STACK = RANDOM.normal(size=(2, 4, 5))


def saved(folder: Path, model: ir.Model) -> Path:
    ir.save(model, folder / "graph.onnx")
    return folder / "graph.onnx"


def of_x(nodes: str, shape: str = "N, 5", **constants: object) -> ir.Model:
    return graph(nodes, "float[N, 4] x", f"float[{shape}] y", **constants)


@pytest.mark.parametrize("model", [
    of_x("y = Gemm(x, w, b)", w=WEIGHTS, b=RANDOM.normal(size=5)),
    of_x("y = Gemm<alpha=0.5, beta=2.0, transB=1>(x, w, b)", w=TRANSPOSED, b=RANDOM.normal(size=5)),
    of_x("y = Gemm<transA=1>(w, x)", "3, 4", w=RANDOM.normal(size=(3, 3))),
    of_x("y = MatMul(x, w)", w=WEIGHTS),
    of_x("a = Relu(x) b = LeakyRelu(x) c = LeakyRelu<alpha=0.2>(x) d = Add(a, b) y = Add(c, d)", "N, 4"),
    of_x("a = Unsqueeze(x, one) b = Gather(w, which) c = MatMul(a, b) y = Squeeze(c, one)",
         one=np.array([1]), which=np.array([1, 0, 1]), w=STACK),
    of_x("y = Gather<axis=1>(x, which)", "N, 2", which=np.array([-1, 0])),
    of_x("a = Reshape(x, s) y = Reshape(a, t)", "N, 4", s=np.array([-1, 2, 2]), t=np.array([0, 4])),
    of_x("a = Pow(x, two) b = ReduceMean(a, one) c = Sqrt(b) d = Reciprocal(c) y = Mul(x, d)", "N, 4",
         two=np.array(2.0), one=np.array([1])),
    of_x("a = ReduceMean<keepdims=0>(x, one) y = Unsqueeze(a, one)", "N, 1", one=np.array([-1])),
    of_x("a = Relu(x) y = Concat<axis=1>(x, a, x)", "N, 12"),
], ids=["gemm", "gemm's attributes", "transposed", "product", "activations", "domains", "gather", "reshape", "norm",
        "mean", "joined"])  # fmt: skip
def test_numpy_gives_the_numbers_of_onnx_runtime(tmp_path, model):
    path = saved(tmp_path, model)
    session, engine = open_in_numpy(path), ENGINES["onnxruntime"].open(Graph(path), EngineOptions(threads=1))
    made, expected = session.run({"x": X}), engine.run({"x": X})
    assert (made.dtype, made.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)
    assert session.inputs() == engine.inputs() == {"x": (None, 4)}


def _changed(path: Path, change) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("change", [
    lambda model: model.graph.node.add(op_type="Conv", input=["x", "w"], output=["z"]),
    lambda model: model.graph.node.add(op_type="Relu", input=["x"], output=["z"], domain="com.example"),
    lambda model: model.graph.node[0].attribute.append(onnx.helper.make_attribute("axes", [1])),
    lambda model: model.graph.output.append(model.graph.input[0]),
    lambda model: setattr(model.opset_import[0], "version", 11),
    lambda model: setattr(model.graph.initializer[0], "data_type", onnx.TensorProto.DOUBLE),
    lambda model: setattr(model.graph.initializer[0], "data_location", onnx.TensorProto.EXTERNAL),
    lambda model: model.graph.initializer[0].dims.append(2**40),
    lambda model: model.graph.node[0].input.append("w"),
    lambda model: model.graph.node[0].input.__setitem__(0, "z"),
    lambda model: model.functions.add(name="f", domain="com.example"),
], ids=["operator", "domain", "attribute", "outputs", "opset", "type", "elsewhere", "shape", "inputs", "unknown",
        "functions"])  # fmt: skip
def test_what_numpy_cannot_run_is_left_to_an_engine(tmp_path, change):
    path = saved(tmp_path, of_x("y = MatMul(x, w)", w=WEIGHTS))
    assert open_in_numpy(path) is not None
    assert open_in_numpy(_changed(path, change)) is None


def test_a_missing_file_is_left_to_an_engine(tmp_path):
    assert open_in_numpy(tmp_path / "no.onnx") is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage_to_a_file_is_an_engine_error_or_a_graph(tmp_path, data):
    path = saved(tmp_path, of_x("y = Gemm(x, w, b)", w=WEIGHTS, b=np.zeros(5)))
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[place:]
    else:
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    session = open_in_numpy(path)
    if session is not None:
        with suppress(EngineError):
            session.run({"x": X})


PROGRAM = """
import sys
import numpy as np
from pathlib import Path
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.registry import ENGINES

session = ENGINES["ncnn"].open(Graph(Path(sys.argv[1])), EngineOptions(threads=1))
session.run({"latent": np.zeros((1, 4), np.float32), "domain": np.array([0])})
print(sorted({"onnxruntime", "openvino"} & sys.modules.keys()))
"""


def test_ncnn_makes_styles_of_seeds_without_a_second_engine(tiny_bundle):
    if ENGINES["ncnn"].absent() is not None:
        pytest.skip(f"ncnn is {ENGINES['ncnn'].absent()}")
    command = [sys.executable, "-c", PROGRAM, str(tiny_bundle / "mapping.onnx")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
