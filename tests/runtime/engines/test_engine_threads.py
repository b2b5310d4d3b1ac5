"""No engine takes more threads than the process was given, however that was said. Counted, not timed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from ncnn_addition import ADDITION

from starcast.runtime.cores import allowed_threads, granted_threads
from starcast.runtime.engines.base import EngineOptions
from starcast.runtime.engines.registry import ENGINES

CONVOLUTIONS = """
<ir_version: 8, opset_import: ["": 17]>
convolutions (float[N, 32, H, W] image) => (float[N, 32, H, W] translation)
{
    first = Conv <pads = [1, 1, 1, 1]> (image, weights)
    positive = Relu (first)
    translation = Conv <pads = [1, 1, 1, 1]> (positive, weights)
}
"""
# prints how many threads the process has more after a run than before the engine was opened
COUNT = """
import os, sys
from pathlib import Path
name, graph, threads, affinity, quota = sys.argv[1:]
if affinity:
    os.sched_setaffinity(0, {int(affinity)})
import numpy as np
from starcast.runtime import cores
if quota:
    cores.cpu_quota = lambda: float(quota)
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.engines.registry import ENGINES
assert ENGINES[name].absent() is None
here = Path("/proc/self/task")
before = len(list(here.iterdir()))
weights = tuple(Path(graph).parent.glob("*.bin"))
options = EngineOptions(threads=int(threads) if threads else None)
session = ENGINES[name].open(Graph(Path(graph), weights=weights), options)
if Path(graph).suffix == ".param":
    feeds = {"image": np.zeros((1, 64, 64, 3), np.uint8), "gamma_beta": np.zeros((1, 3), np.float32)}
else:
    feeds = {"image": np.zeros((1, 32, 64, 64), np.float32)}
session.run(feeds)
print(len(list(here.iterdir())) - before)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")


@pytest.fixture(params=["openvino", "onnxruntime", "ncnn"])
def added(request, tmp_path):
    """A function (threads, affinity, quota) -> how many threads opening and running a graph adds to a process."""
    name = request.param
    reason = ENGINES[name].absent()
    if reason is not None:
        pytest.skip(f"{name} is {reason}")
    graph = _ncnn_graph(tmp_path) if name == "ncnn" else _onnx_graph(tmp_path)

    def count(threads: int | None = None, affinity: int | None = None, quota: float | None = None) -> int:
        given = ["" if value is None else str(value) for value in (threads, affinity, quota)]
        command = [sys.executable, "-c", COUNT, name, str(graph), *given]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return count


def _onnx_graph(folder: Path) -> Path:
    model = onnx.parser.parse_model(CONVOLUTIONS)
    weights = np.full((32, 32, 3, 3), 1 / 288, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    (folder / "graph.onnx").write_bytes(model.SerializeToString())
    return folder / "graph.onnx"


def _ncnn_graph(folder: Path) -> Path:
    (folder / "graph.param").write_text(ADDITION)
    (folder / "graph.bin").write_bytes(b"")
    return folder / "graph.param"


@pytest.mark.skipif(allowed_threads() < 2, reason="one core is all there is")
def test_an_engine_takes_the_threads_that_it_is_given_and_no_more(added):
    alone = added(threads=1)
    assert added(threads=2) == alone + 1
    some_core = min(os.sched_getaffinity(0))
    assert added(affinity=some_core) == alone
    assert added(quota=1.0) == alone
    assert added(quota=0.3) == alone


@pytest.mark.parametrize(("allowed", "asked", "granted"), [(4, 2, 2), (4, 4, 4), (2, 8, 2), (1, 3, 1)])
def test_more_threads_than_the_process_may_use_are_not_granted(monkeypatch, allowed, asked, granted):
    monkeypatch.setattr("starcast.runtime.cores.allowed_threads", lambda: allowed)
    assert granted_threads(asked) == granted


def test_threads_that_nobody_asked_for_are_at_most_one_a_core(monkeypatch):
    monkeypatch.setattr("starcast.runtime.engines.base.engine_threads", lambda: 3)
    assert EngineOptions(threads=granted_threads(None)).count_threads() == 3
