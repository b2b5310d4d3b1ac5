"""What every backend must do, and what those that open ONNX graphs must; each runs where its engine is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnx.parser
import pytest
from small_graphs import graph as small_graph

from starcast.errors import EngineError
from starcast.export.graphs.files import SharedWeights
from starcast.runtime.bundle import open_bundle
from starcast.runtime.doctor import PROBE
from starcast.runtime.engines import cache
from starcast.runtime.engines.base import EngineOptions, Graph, one_line
from starcast.runtime.engines.openvino import MOST_PADDED, PATIENCE
from starcast.runtime.engines.registry import ENGINES

DOUBLE = """
<ir_version: 8, opset_import: ["": 17]>
double (float[N, 3] x, float[M, 3] y) => (float[K, 3] z) { s = Add (x, x)  z = Mul (s, y) }
"""
X, Y = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[1, 2, 3]], np.float32)


OF_ONNX = ("openvino", "onnxruntime")


@pytest.fixture(params=OF_ONNX)
def backend(request):
    return _here(request.param)


@pytest.fixture
def keeping():
    """The engine whose compiled graphs are kept on the disk."""
    return _here("onnxruntime")


def _here(name: str):
    reason = ENGINES[name].absent()
    if reason is not None:
        pytest.skip(f"{name} is {reason}")
    return ENGINES[name]


def _package(name: str) -> str:
    """What is imported for an engine."""
    return {"ncnn-vulkan": "ncnn", "cuda": "onnxruntime", "tensorrt-rtx": "tensorrt_rtx"}.get(name, name)


@pytest.fixture
def graph(tmp_path) -> Path:
    path = tmp_path / "double.onnx"
    path.write_bytes(onnx.parser.parse_model(DOUBLE).SerializeToString())
    return path


def kept(graph: Path, size: int = cache.SMALLEST) -> Graph:
    """A graph with a digest, large enough for its compiled form to be kept."""
    return Graph(graph, digest="digest", bytes=size)


@pytest.mark.parametrize("name", list(ENGINES))
def test_it_is_here_and_says_its_version(name):
    assert _here(name).version()[0].isdigit()


def test_a_graph_runs_with_any_batch(backend, graph):
    session = backend.open(Graph(graph), EngineOptions(threads=1))
    np.testing.assert_array_equal(session.run({"x": X, "y": Y}), 2 * X * Y)
    np.testing.assert_array_equal(session.run({"x": X[:1], "y": Y}), 2 * X[:1] * Y)
    session.close()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system takes UTF-8 alone")
@pytest.mark.parametrize("from_cache", [False, True])
def test_a_graph_with_a_path_that_is_not_utf_8_runs(backend, graph, tmp_path, from_cache):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    moved = graph.rename(folder / graph.name)
    opened = kept(moved) if from_cache else Graph(moved)
    for _ in range(1 + from_cache):
        session = backend.open(opened, EngineOptions(threads=1, cache=tmp_path / "cache" if from_cache else None))
        np.testing.assert_array_equal(session.run({"x": X, "y": Y}), 2 * X * Y)
        session.close()


def test_a_closed_session_stays_closed(backend, graph):
    session = backend.open(Graph(graph), EngineOptions(threads=1))
    session.run({"x": X, "y": Y})
    session.close()
    session.close()
    with pytest.raises(EngineError, match=r"double\.onnx has been closed: open it again"):
        session.run({"x": X, "y": Y})


def test_an_output_is_the_callers_own(backend, graph):
    session = backend.open(Graph(graph), EngineOptions(threads=1))
    first = session.run({"x": X, "y": Y})
    session.run({"x": X * 0, "y": Y})
    np.testing.assert_array_equal(first, 2 * X * Y)
    first[:] = 0
    np.testing.assert_array_equal(session.run({"x": X, "y": Y}), 2 * X * Y)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\x08\x12"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_graph_is_an_engine_error_of_one_sentence(backend, tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(EngineError, match=r"x\.onnx is refused by .*export the bundle again") as caught:
        backend.open(Graph(tmp_path / "x.onnx"), EngineOptions(threads=1))
    assert len(str(caught.value).splitlines()) == 1


def test_inputs_that_do_not_fit_are_an_engine_error(backend, graph):
    session = backend.open(Graph(graph), EngineOptions(threads=1))
    with pytest.raises(EngineError, match=r"failed in .*double\.onnx .*: try a smaller batch") as caught:
        session.run({"x": np.zeros((2, 5), np.float32), "y": Y})
    assert len(str(caught.value).splitlines()) == 1


def test_weights_outside_the_bundle_are_not_read(backend, tmp_path):
    (tmp_path / "secret").write_bytes(Y.tobytes())
    (tmp_path / "bundle").mkdir()
    model = onnx.parser.parse_model(DOUBLE)
    weight = onnx.TensorProto(name="y", data_type=onnx.TensorProto.FLOAT, dims=[1, 3])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    model.graph.initializer.append(weight)
    del model.graph.input[1]
    (tmp_path / "bundle/x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match=r"x\.onnx is refused"):
        backend.open(Graph(tmp_path / "bundle/x.onnx"), EngineOptions(threads=1))


@pytest.mark.parametrize("name", list(ENGINES))
def test_a_variant_names_the_engines_that_it_was_made_for(name, tiny_bundle):
    [variant] = open_bundle(tiny_bundle).manifest.variants
    backend = ENGINES[name]
    assert backend.why_unsupported(msgspec.structs.replace(variant, engines=(name,))) is None
    other = msgspec.structs.replace(variant, engines=("another",))
    assert f"was not made for {name}" in backend.why_unsupported(other)


def test_a_graph_is_kept_compiled_and_gives_the_same_numbers(keeping, graph, tmp_path):
    options = EngineOptions(threads=1, cache=tmp_path / "cache")
    first = keeping.open(kept(graph), options).run({"x": X, "y": Y})
    [file] = (tmp_path / "cache").iterdir()
    before = file.read_bytes()
    second = keeping.open(kept(graph), options).run({"x": X, "y": Y})
    np.testing.assert_array_equal(first, second)
    assert [path.read_bytes() for path in (tmp_path / "cache").iterdir()] == [before]


def test_a_graph_with_weights_in_a_file_beside_it_is_loaded_as_it_was_kept(keeping, tmp_path, monkeypatch):
    weight = np.random.RandomState(0).standard_normal((32, 32)).astype(np.float32)
    model = small_graph("h = MatMul (x, w)  y = Relu (h)", "float[N, 32] x", "float[N, 32] y", w=weight)
    (tmp_path / "model").mkdir()
    SharedWeights(tmp_path / "model/weights.data").write(model, tmp_path / "model/graph.onnx")
    options = EngineOptions(threads=1, cache=tmp_path / "cache")
    x = np.random.RandomState(1).standard_normal((2, 32)).astype(np.float32)
    first = keeping.open(kept(tmp_path / "model/graph.onnx"), options).run({"x": x})
    loaded = []
    opened = cache.open_cached

    def noted(*arguments):
        loaded.append(opened(*arguments))
        return loaded[-1]

    monkeypatch.setattr(cache, "open_cached", noted)
    second = keeping.open(kept(tmp_path / "model/graph.onnx"), options).run({"x": x})
    assert loaded != [None]  # None: what was kept is refused, and the graph compiled anew at every start
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, np.maximum(x @ weight, 0), atol=1e-5)


def test_a_damaged_compiled_graph_is_replaced(keeping, graph, tmp_path):
    options = EngineOptions(threads=1, cache=tmp_path / "cache")
    keeping.open(kept(graph), options)
    [file] = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    session = keeping.open(kept(graph), options)
    np.testing.assert_array_equal(session.run({"x": X, "y": Y}), 2 * X * Y)


def test_a_whole_file_of_another_kind_is_compiled_again(keeping, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "read_sealed", lambda _: b"whole, but no compiled graph")
    session = keeping.open(kept(graph), EngineOptions(threads=1, cache=tmp_path / "cache"))
    np.testing.assert_array_equal(session.run({"x": X, "y": Y}), 2 * X * Y)


def test_a_graph_without_a_digest_is_not_kept(keeping, graph, tmp_path):
    keeping.open(Graph(graph), EngineOptions(threads=1, cache=tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_a_small_graph_is_not_kept(keeping, graph, tmp_path):
    keeping.open(kept(graph, cache.SMALLEST - 1), EngineOptions(threads=1, cache=tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def compiling(tmp_path, monkeypatch):
    """A function that runs a graph of OpenVINO's, and the rows of `x` of each shape that it compiles for; 0: any."""
    graph = tmp_path / "open.onnx"
    graph.write_bytes(onnx.parser.parse_model(DOUBLE.replace(", 3]", ", W]")).SerializeToString())
    session, rows = _here("openvino").open(Graph(graph), EngineOptions(threads=1)), []
    compile_for = type(session)._compile
    monkeypatch.setattr(
        type(session),
        "_compile",
        lambda self, shapes: (rows.append(shapes["x"][0] if shapes else 0), compile_for(self, shapes)),
    )

    def run(count: int, shared: bool = True, width: int = 3) -> None:
        x = np.arange(count * width, dtype=np.float32).reshape(count, width)
        y = Y[:, :width] if shared else np.tile(Y[:, :width], (count, 1)) * x
        np.testing.assert_array_equal(session.run({"x": x, "y": y}), 2 * x * y)

    return run, rows


def test_openvino_compiles_for_a_batch_and_pads_a_smaller_one(compiling):
    run, rows = compiling
    for count in (4, 4, 1, 4, 3, 2, 4):
        run(count)
    assert rows == [4]


def test_openvino_compiles_again_for_a_larger_batch_and_for_one_that_stays_smaller(compiling):
    run, rows = compiling
    for count in (1, 4, *[2] * (PATIENCE + 2), 4):
        run(count)
    assert rows == [1, 4, 2, 4]


@pytest.mark.parametrize("other", [
    {"width": 2}, {"shared": False}, {"count": MOST_PADDED + 1},
], ids=["another size", "a row of its own for each", "a large batch"])  # fmt: skip
def test_openvino_compiles_for_any_shape_once_others_come(compiling, other):
    run, rows = compiling
    for _ in range(2):
        run(2)
        run(**{"count": 2, **other})
    run(1)
    assert rows == [2, 0]


def test_an_input_that_a_batch_shares_fits_where_each_image_had_its_own(compiling):
    run, rows = compiling
    run(4, shared=False)
    for count in (4, 3, 1):
        run(count)
    assert rows == [4]


def test_openvino_keeps_nothing_on_the_disk(graph, tmp_path):
    options = EngineOptions(threads=1, cache=tmp_path / "cache")
    _here("openvino").open(kept(graph), options).run({"x": X, "y": Y})
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("name", "precision", "pictures"), [
    ("openvino", "fp32", 1), ("openvino", "int8", 4), ("onnxruntime", "int8", 1), ("ncnn", "fp32", 1),
    ("tensorrt", "fp16", 4), ("cuda", "fp32", 4),
])  # fmt: skip
def test_an_engine_says_how_many_images_at_a_time_suit_it(name, precision, pictures):
    assert ENGINES[name].best_batch(precision) == pictures


def test_every_device_opens_the_probe_or_says_why_not(backend):
    tried = backend.devices(PROBE)
    assert None in tried.values()
    assert all(reason for reason in backend.devices(b"no graph").values())


@pytest.mark.parametrize("name", list(ENGINES))
def test_an_engine_that_is_not_installed_says_so(name):
    code = f"""
import sys
sys.modules["{_package(name)}"] = None
from starcast.runtime.engines.registry import ENGINES
print(ENGINES["{name}"].absent())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "not installed"


@pytest.mark.parametrize(("source", "words"), [
    ("raise ImportError('libx.so.1: cannot open shared object file', name='libx')", r"libx\.so\.1"),
    ("", "empty folder|__version__"),
], ids=["a library is missing", "leftovers"])  # fmt: skip
@pytest.mark.parametrize("name", list(ENGINES))
def test_an_engine_that_is_broken_says_so(name, source, words, tmp_path):
    (tmp_path / _package(name)).mkdir()
    (tmp_path / _package(name) / "__init__.py").write_text(source)
    code = f"from starcast.runtime.engines.registry import ENGINES; print(ENGINES['{name}'].absent())"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(("installed, but broken (", "installed, but does not load"))
    assert re.search(words, result.stdout)


def test_openvino_calculates_in_float32_on_the_threads_it_is_given(graph):
    _here("openvino")
    from starcast.runtime.engines.openvino import _core, _settings

    compiled = _core().compile_model(str(graph), "CPU", _settings(Graph(graph), EngineOptions(threads=1)))
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_onnxruntime_does_not_spin_and_keeps_to_the_threads_it_is_given(graph):
    _here("onnxruntime")
    from starcast.runtime.engines.onnxruntime import _session

    options = _session(graph, EngineOptions(threads=1)).get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(("told", "line"), [
    ("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf parsing failed.", "Protobuf parsing failed."),
    ("Exception from src/a.cpp:132:\nCheck 'x' failed at src/b.cpp:7:\nUnable to read the model\n\n",
     "Unable to read the model"),
    ("Exception from src/a.cpp:132:\n", "Exception from src/a.cpp:132:"),
    ("", "RuntimeError"),
    ("x" * 500, "x" * 239 + "…"),
])  # fmt: skip
def test_what_an_engine_says_becomes_a_part_of_a_sentence(told, line):
    assert one_line(RuntimeError(told)) == line


def test_opening_openvino_tells_its_maker_nothing(graph, tmp_path):
    _here("openvino")
    code = """
import sys
from pathlib import Path
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.engines.base import EngineOptions, Graph
ENGINES["openvino"].open(Graph(Path(sys.argv[1])), EngineOptions(threads=1))
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "USERPROFILE": str(home)}
    command = [sys.executable, "-c", code, graph]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.strip() == "[]"
    assert list(home.iterdir()) == []
