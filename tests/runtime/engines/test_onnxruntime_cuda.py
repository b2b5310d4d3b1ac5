"""ONNX Runtime's CUDA provider: loud where it would hide on the processor, bound to memory that is on the GPU."""

from __future__ import annotations

import gc
import sys
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx.parser
import pytest

from starcast.errors import EngineError
from starcast.runtime.bundle import open_bundle
from starcast.runtime.doctor import PROBE
from starcast.runtime.engines import onnxruntime_cuda
from starcast.runtime.engines.base import Absence, EngineOptions, Graph
from starcast.runtime.engines.onnxruntime import OnnxRuntime
from starcast.runtime.engines.onnxruntime_cuda import PROVIDER, OnnxRuntimeCuda, OnnxRuntimeCudaSession
from starcast.runtime.nvidia import dlpack, first_gpu, placement
from starcast.runtime.nvidia.arrays import DeviceArray
from starcast.runtime.nvidia.driver import Gpu

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

DOUBLE = """
<ir_version: 8, opset_import: ["": 17]>
double (float[N, 3] x, float[M, 3] y) => (float[K, 3] z) { s = Add (x, x)  z = Mul (s, y) }
"""
X, Y = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[1, 2, 3]], np.float32)
FOR_CPUS = PROVIDER not in onnxruntime.get_available_providers()


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "double.onnx"
    path.write_bytes(onnx.parser.parse_model(DOUBLE).SerializeToString())
    return path


@pytest.mark.skipif(not FOR_CPUS, reason="onnxruntime-gpu is installed")
def test_the_package_for_cpus_is_told_with_the_line_that_replaces_it():
    engine = OnnxRuntimeCuda()
    absence = engine.absent()
    assert absence.reason == "installed, but only for CPUs; first `pip uninstall -y onnxruntime`"
    assert absence.remedy(engine.install_line) == ": pip install 'starcast[gpu]'"


def test_with_the_right_package_the_driver_says_whether_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime_cuda, "why_no_gpu", lambda: "the NVIDIA driver shows no GPU")
    monkeypatch.setattr(onnxruntime_cuda, "has_driver_package", lambda: True)
    assert OnnxRuntimeCuda().absent() == Absence("installed, but the NVIDIA driver shows no GPU", pip_helps=False)
    monkeypatch.setattr(onnxruntime_cuda, "has_driver_package", lambda: False)  # nobody knows: opening finds out
    assert OnnxRuntimeCuda().absent() is None


@pytest.mark.skipif(not FOR_CPUS, reason="onnxruntime-gpu is installed")
def test_a_graph_that_would_run_on_the_cpu_is_an_error(graph):
    with pytest.raises(EngineError, match=r"double\.onnx would run on the CPU, .*CUDA and cuDNN"):
        OnnxRuntimeCuda().open(Graph(graph), EngineOptions())
    [reason] = OnnxRuntimeCuda().devices(PROBE).values()
    assert "the probe would run on the CPU" in reason


def test_so_it_is_where_onnxruntime_says_nothing_about_it(graph, monkeypatch):
    quiet = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: quiet)
    with pytest.raises(EngineError, match="would run on the CPU"):
        OnnxRuntimeCuda().open(Graph(graph), EngineOptions())


def test_a_session_asks_for_the_gpu_alone_and_for_exact_float32(graph, monkeypatch):
    asked = {}

    def session(where, options, providers, enable_fallback):
        asked.update(
            where=where, providers=providers, enable_fallback=enable_fallback,
            fallback=options.get_session_config_entry("session.disable_cpu_ep_fallback"),
        )  # fmt: skip
        return SimpleNamespace(
            get_providers=lambda: [PROVIDER, "CPUExecutionProvider"],
            get_outputs=lambda: [SimpleNamespace(name="z", type="tensor(float)")],
        )

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    OnnxRuntimeCuda().open(Graph(graph), EngineOptions())
    [(provider, settings)] = asked["providers"]
    assert (asked["where"], provider, asked["fallback"]) == (str(graph), PROVIDER, "1")
    assert settings["use_tf32"] == "0"
    assert asked["enable_fallback"] == 0  # it would print, and hide the first error behind a second


def test_what_the_library_itself_says_of_a_provider_that_does_not_start_is_not_shown(graph, capfd):
    with pytest.raises(EngineError):
        OnnxRuntimeCuda().open(Graph(graph), EngineOptions())
    for backend in (OnnxRuntimeCuda(), OnnxRuntime()):
        assert all(backend.devices(b"no graph").values())
    assert capfd.readouterr() == ("", "")


def test_cudas_libraries_that_pip_put_beside_it_are_loaded_once_and_in_silence(graph, monkeypatch, capsys):
    loaded = []
    missing = "Failed to load libcudnn.so.9"
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: loaded.append(1) or sys.stdout.write(missing))
    onnxruntime_cuda._load_cuda.cache_clear()
    for _ in range(2):
        with pytest.raises(EngineError):
            OnnxRuntimeCuda().open(Graph(graph), EngineOptions())
    assert loaded == [1]
    assert capsys.readouterr().out == ""


def test_a_driver_that_is_older_than_the_package_is_told(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr(onnxruntime_cuda, "has_driver_package", lambda: True)
    monkeypatch.setattr(onnxruntime_cuda, "current_gpu", lambda: Gpu("NVIDIA H100", (9, 0), "12.8"))
    assert (
        OnnxRuntimeCuda()
        .absent()
        .reason.startswith("installed, but made for CUDA 13, and the NVIDIA driver knows 12.8")
    )
    monkeypatch.setattr(onnxruntime_cuda, "current_gpu", lambda: Gpu("NVIDIA H100", (9, 0), "13.0"))
    assert OnnxRuntimeCuda().absent() is None


def test_a_file_that_is_no_graph_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match=r"x\.onnx is refused by ONNX Runtime .* on the GPU .*--backend onnxruntime"):
        OnnxRuntimeCuda().open(Graph(tmp_path / "x.onnx"), EngineOptions())


def test_numpys_inputs_are_bound_and_the_output_is_numpys(graph):
    session = OnnxRuntimeCudaSession(graph, onnxruntime.InferenceSession(str(graph)))
    np.testing.assert_array_equal(session.run({"x": X, "y": Y}), 2 * X * Y)
    np.testing.assert_array_equal(session.run({"x": X[:1], "y": Y}), 2 * X[:1] * Y)
    with pytest.raises(EngineError, match=r"failed in .*double\.onnx on the GPU .*try a smaller batch"):
        session.run({"x": np.zeros((2, 5), np.float32), "y": Y})
    session.close()


def test_variants_for_onnxruntime_run_on_the_gpu_in_float32(tiny_bundle):
    [known] = open_bundle(tiny_bundle).manifest.variants
    backend = OnnxRuntimeCuda()

    def why_unsupported(*names, precision="fp32"):
        return backend.why_unsupported(msgspec.structs.replace(known, engines=names, precision=precision))

    assert why_unsupported("onnxruntime") is None
    assert why_unsupported("cuda", precision="fp16") is None
    assert "was not made for cuda" in why_unsupported("openvino")
    assert "is in int8 for CPUs, not for GPUs" in why_unsupported("onnxruntime", precision="int8")


class OnGpu:
    shape, dtype = (2, 3), np.dtype(np.float32)

    def __dlpack_device__(self):
        return placement.GPU, 0

    def __dlpack__(self, *, stream):
        return dlpack.give(self, 0x7000, self.shape, self.dtype)


@pytest.fixture
def card(monkeypatch):
    pytest.importorskip("cuda.bindings.driver", reason="the fake card's constants are cuda-python's")
    from fake_cuda import FakeCuda, install

    fake = install(monkeypatch, FakeCuda())
    monkeypatch.setattr(onnxruntime_cuda, "open_driver", first_gpu.open_driver)
    yield fake
    first_gpu._ask.cache_clear()


def test_what_is_on_the_gpu_is_bound_where_it_is_and_so_is_the_output(graph, card):
    made = SimpleNamespace(data_ptr=lambda: 0x9000, shape=lambda: [2, 3])
    calls = []

    class Binding:
        def bind_input(self, *arguments):
            calls.append(("input", *arguments))

        def bind_cpu_input(self, name, array):
            calls.append(("cpu input", name))

        def bind_output(self, *arguments):
            calls.append(("output", *arguments))

        def get_outputs(self):
            return [made]

    done = []
    card.contexts.append("primary")
    card.enqueue(1, lambda: done.append("written"))  # by the array's library, in the default stream
    card.contexts.pop()
    session = OnnxRuntimeCudaSession(graph, SimpleNamespace(
        get_outputs=lambda: [SimpleNamespace(name="z", type="tensor(float)")],
        io_binding=Binding, run_with_iobinding=lambda bound: calls.append(("run", *done)),
    ))  # fmt: skip
    given = session.run({"x": OnGpu(), "y": Y})
    assert calls == [
        ("input", "x", "cuda", 0, np.float32, [2, 3], 0x7000), ("cpu input", "y"), ("output", "z", "cuda"),
        ("run", "written"),
    ]  # fmt: skip
    assert isinstance(given, DeviceArray)
    assert given.__cuda_array_interface__["data"] == (0x9000, False)
    assert given.dtype == np.float32
    card.contexts.append("primary")
    card.enqueue(1, lambda: done.append("read"))  # by someone who then lets go of it
    card.contexts.pop()
    del given
    gc.collect()
    made.numpy = lambda: None
    session.run({"x": X, "y": Y})
    assert calls[-1] == ("run", "written", "read")
    session.close()
    gc.collect()
    assert card.leaks() == []


@pytest.mark.parametrize("method", ["bind_input", "bind_cpu_input", "bind_output", "get_outputs"])
def test_the_real_binding_has_the_method(method):
    assert callable(getattr(onnxruntime.IOBinding, method))
    assert callable(onnxruntime.OrtValue.data_ptr)
