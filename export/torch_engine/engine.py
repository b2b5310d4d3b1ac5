"""The engine that runs a bundle's graphs in PyTorch: for GPUs that no TensorRT supports.

    starcast translate … --backend torch --precision fp16

The runtime does not need torch: it finds this engine by its entry point, and loads it only when it is named. On an
NVIDIA GPU it runs channels last, with the Triton kernel for norms and a CUDA graph for each shape. It also runs on the
CPU, but its speed there means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from starcast.errors import EngineError, StarcastError
from starcast.runtime.engines.base import Absence, Engine, EngineOptions, Graph, Session, one_line
from starcast.runtime.variants import Variant

if TYPE_CHECKING:
    from starcast.train.adain import Implementation


class TorchEngine(Engine):
    """Opens float32 ONNX graphs, and converts them to other precisions."""

    name = "torch"
    extra = "export"
    on_gpu = True
    runs_also = ("openvino", "onnxruntime", "tensorrt", "tensorrt-rtx")
    converts = ("fp16", "bf16")
    after_fork = "works in a new thread"  # on the CPU, as OpenMP does; on a GPU, torch itself refuses

    def __init__(self) -> None:
        self._adain: Implementation | None = None  # chosen once for all graphs: the trial compiles kernels

    def absent(self) -> Absence | None:
        missing = [package for package in ("torch", "onnx", "onnx_ir") if find_spec(package) is None]
        if missing:
            return Absence(f"not installed: {' and '.join(missing)}", pip_helps=True)
        try:
            import torch  # noqa: F401
        except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
            return Absence(f"installed, but does not load: {one_line(error)}", pip_helps=False)
        return None

    def why_unsupported(self, variant: Variant) -> str | None:
        reason = super().why_unsupported(variant)
        if reason is not None:
            return reason
        # only float32 graphs were compared with PyTorch (`parity`); `precision` may be the one to convert them to
        if variant.parity is None or variant.precision not in ("fp32", *self.converts):
            return f"{variant.file} is in {variant.precision}, which {self.name} converts float32 graphs to by itself"
        return None

    def version(self) -> str:
        import torch

        return str(torch.__version__)

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        import torch

        here = torch.cuda.is_available()
        return {"CPU": None, "CUDA": None if here else "no NVIDIA GPU, or a torch that was built without CUDA"}

    def open(self, graph: Graph, options: EngineOptions) -> Session:
        self.note_use()
        import torch

        from starcast.export.torch_engine.graph import CpuSession, open_graph
        from starcast.train.adain import choose_adain

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cpu" and options.threads is not None:
            torch.set_num_threads(options.threads)
        try:
            self._adain = self._adain or choose_adain("auto", device, options.progress)
            torch_graph = open_graph(graph.path, graph.precision, device, self._adain)
        except StarcastError:
            raise
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise EngineError(
                f"{graph.path} is refused by torch {self.version()} ({one_line(error)}): export the bundle again"
            ) from error
        if device.type == "cpu":
            return CpuSession(graph.path, torch_graph)
        from starcast.export.torch_engine.gpu import Cuda, GpuSession

        return GpuSession(graph.path, torch_graph, Cuda())
