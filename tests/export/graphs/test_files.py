"""Graphs that share one file of weights."""

from __future__ import annotations

import os
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from small_graphs import graph

from starcast.export.gate.candidates import open_session
from starcast.export.graphs.files import ALIGNMENT, SharedWeights, write_graph


def network(weight: np.ndarray):
    return graph("y = MatMul (x, w)", "float[N, 32] x", "float[N, M] y", w=weight)


def test_equal_tensors_are_stored_once_and_both_graphs_run(tmp_path):
    draws = np.random.RandomState(0)
    one, other = draws.standard_normal((32, 32)), draws.standard_normal((32, 16))
    weights = SharedWeights(tmp_path / "weights.data")
    for name, weight in (("a", one), ("b", one), ("c", other)):
        weights.write(network(weight), tmp_path / f"{name}.onnx")
    assert (tmp_path / "weights.data").stat().st_size == ALIGNMENT + other.size * 4
    x = draws.standard_normal((2, 32)).astype(np.float32)
    for name, weight in (("a", one), ("b", one), ("c", other)):
        onnx.checker.check_model(str(tmp_path / f"{name}.onnx"), full_check=True)
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ weight.astype(np.float32), atol=1e-5)


def test_small_tensors_stay_in_the_graph(tmp_path):
    SharedWeights(tmp_path / "weights.data").write(network(np.ones((32, 4))), tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_graph_in_another_folder_would_not_find_its_weights(tmp_path):
    with pytest.raises(ValueError, match="is not beside"):
        SharedWeights(tmp_path / "weights.data").write(network(np.ones((32, 32))), tmp_path / "elsewhere" / "a.onnx")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system takes UTF-8 alone")
def test_a_folder_whose_name_is_not_utf_8_takes_graphs_with_shared_weights(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    weights = SharedWeights(folder / "weights.data")
    assert write_graph(network(np.ones((32, 32))), folder / "a.onnx", {}, weights) == (folder / "weights.data",)
    [output] = open_session(folder / "a.onnx").run(None, {"x": np.ones((1, 32), np.float32)})
    assert (output == 32).all()
