"""ONNX Runtime on an NVIDIA GPU, with its CUDA provider: for when TensorRT is missing or does not support the GPU.

ONNX Runtime silently falls back to the CPU if the provider does not start: `get_available_providers` lists what was
compiled in, and creating a session raises no error. So we check what each session runs on.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from starcast.errors import EngineError
from starcast.runtime.engines.base import Absence, Engine, EngineOptions, Graph, Session, closed_error, one_line
from starcast.runtime.engines.onnxruntime import OnnxRuntime, engine, errors, silent
from starcast.runtime.nvidia.arrays import LEGACY_STREAM, DeviceArray, View, borrow
from starcast.runtime.nvidia.driver import Driver
from starcast.runtime.nvidia.first_gpu import current_gpu, has_driver_package, open_driver, why_no_gpu
from starcast.runtime.nvidia.placement import is_on_gpu
from starcast.runtime.variants import Variant
from starcast.utf8 import utf8_path

PROVIDER = "CUDAExecutionProvider"
_SETTINGS = {
    "device_id": "0",
    "use_tf32": "0",  # TF32 keeps 10 of float32's 23 mantissa bits: too few for the fp32 gate
    # by default every new image size tries all of cuDNN's algorithms, which takes seconds
    "cudnn_conv_algo_search": "HEURISTIC",
}
_KINDS = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}  # the types of our graphs' outputs


class OnnxRuntimeCuda(Engine):
    """Opens ONNX graphs with ONNX Runtime's CUDA provider."""

    name = "cuda"
    extra = "gpu"
    on_gpu = True
    runs_also = ("onnxruntime",)

    def absent(self) -> Absence | None:
        absence = OnnxRuntime().absent()
        if absence is not None:
            return absence
        onnxruntime = engine()
        if PROVIDER not in onnxruntime.get_available_providers():
            return Absence(
                "installed, but only for CPUs; first `pip uninstall -y onnxruntime`",
                pip_helps=True,
            )
        # without a package that queries the driver there may still be a GPU: `open` finds out
        reason = _why_no_gpu(str(getattr(onnxruntime, "cuda_version", ""))) if has_driver_package() else None
        return None if reason is None else Absence(f"installed, but {reason}", pip_helps=False)

    def why_unsupported(self, variant: Variant) -> str | None:
        reason = super().why_unsupported(variant)
        if reason is None and self.name not in variant.engines and variant.precision != "fp32":
            return f"{variant.file} is in {variant.precision} for CPUs, not for GPUs"
        return reason

    def version(self) -> str:
        return str(engine().__version__)

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        try:
            _session(graph)
        except EngineError as error:
            return {"CUDA": str(error)}
        except errors() as error:
            return {"CUDA": one_line(error)}
        return {"CUDA": None}

    def open(self, graph: Graph, options: EngineOptions) -> Session:
        self.note_use()
        try:
            return OnnxRuntimeCudaSession(graph.path, _session(graph.path))
        except errors() as error:
            raise EngineError(
                f"{graph.path} is refused by ONNX Runtime {self.version()} on the GPU ({one_line(error)}): "
                "give --backend onnxruntime, or see `starcast doctor`"
            ) from error


class OnnxRuntimeCudaSession(Session):
    """One graph on the GPU. Inputs and outputs are bound, so that nothing on the GPU is copied."""

    def __init__(self, graph: Path, session: Any) -> None:
        self._graph = graph
        self._session = session
        self._driver: Driver | None = None  # for inputs that are on the GPU
        self._returned = False  # whether an array that was returned to a caller has been released
        [output] = session.get_outputs()
        self._output, self._kind = output.name, np.dtype(_KINDS[output.type])

    def run(self, feeds: Mapping[str, Any]) -> Any:
        """Run the graph. Inputs may be NumPy arrays or on the GPU; the output is on the GPU if any input is."""
        if self._session is None:
            raise closed_error(self._graph)
        on_gpu = any(is_on_gpu(value) for value in feeds.values())
        self._settle()
        try:
            with ExitStack() as held:
                bound = self._session.io_binding()
                for name, value in feeds.items():
                    if is_on_gpu(value):
                        view = held.enter_context(self._await_writer(value))
                        bound.bind_input(name, "cuda", 0, view.dtype.type, list(view.shape), view.address)
                    else:
                        bound.bind_cpu_input(name, np.ascontiguousarray(value))
                bound.bind_output(self._output, "cuda" if on_gpu else "cpu")
                self._session.run_with_iobinding(bound)  # returns when the GPU is done
                [made] = bound.get_outputs()
        except errors() as error:
            raise EngineError(
                f"ONNX Runtime failed in {self._graph} on the GPU ({one_line(error)}): try a smaller batch, or "
                "another --backend"
            ) from error
        if not on_gpu:
            return made.numpy()
        # the array holds ONNX Runtime's output, which frees itself
        return DeviceArray(View(made.data_ptr(), tuple(made.shape()), self._kind), partial(self._let_go, [made]))

    def close(self) -> None:
        self._session = None
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _let_go(self, held: list[Any]) -> None:
        held.clear()
        self._returned = True

    def _settle(self) -> None:
        """Wait until no queued work can still read released arrays. ONNX Runtime reuses their memory at once, and their
        last user may have queued work in a stream that we do not know."""
        if self._returned and self._driver is not None:
            self._returned = False
            with self._driver.active():
                self._driver.synchronise()

    @contextmanager
    def _await_writer(self, value: Any) -> Iterator[View]:
        """A view of a GPU array, once its library has written it: ONNX Runtime works in other streams and would not
        wait."""
        self._driver = self._driver or open_driver()
        with self._driver.active(), borrow(value, LEGACY_STREAM, self._driver) as view:
            self._driver.synchronise()
            yield view


def _why_no_gpu(cuda: str) -> str | None:
    """Why no GPU here can run a package made for that CUDA version (`13.0`, or empty), as a clause, or None."""
    gpu = current_gpu()
    major = cuda.partition(".")[0]
    return why_no_gpu() if gpu is None else gpu.lacks(int(major) if major.isdigit() else None)


def _session(graph: Path | bytes) -> Any:
    """Open a session that runs entirely on the GPU. Raises EngineError if part of it would not, and whatever ONNX
    Runtime raises."""
    onnxruntime = engine()
    _load_cuda()
    chosen = onnxruntime.SessionOptions()
    chosen.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    with silent(), warnings.catch_warnings(), ExitStack() as held:
        where = graph if isinstance(graph, bytes) else str(held.enter_context(utf8_path(graph)))
        warnings.simplefilter("ignore", UserWarning)  # about an unknown provider: our error says so, too
        try:
            # its own fallback to the CPU would print banners, and raise a different error
            session = onnxruntime.InferenceSession(where, chosen, providers=[(PROVIDER, _SETTINGS)], enable_fallback=0)
        except errors() as error:
            if "CPU EP" not in str(error):
                raise
            raise _fallback_error(graph) from error
    if session.get_providers()[0] != PROVIDER:
        raise _fallback_error(graph)
    return session


@once
def _load_cuda() -> None:
    """Load the CUDA and cuDNN libraries that pip installed beside the package: the provider looks only in the system's
    folders."""
    with redirect_stdout(io.StringIO()):  # it prints what is missing; the session will report that
        engine().preload_dlls()


def _fallback_error(graph: Path | bytes) -> EngineError:
    return EngineError(
        f"{'the probe' if isinstance(graph, bytes) else graph} would run on the CPU, because ONNX Runtime's CUDA "
        "provider does not start or lacks an operator: its libraries (CUDA and cuDNN, in the versions that "
        "onnxruntime-gpu requires) come with pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )
