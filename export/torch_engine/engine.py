"""The graphs of a bundle in PyTorch: for cards that no TensorRT takes.

    starcast translate … --backend torch --precision fp16

Outside `runtime`, which does without torch, and loaded only when it is named. On an NVIDIA card: channels last, the
Triton kernel for norms, and a CUDA graph for each shape. On the processor it runs as well, which says nothing of speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starcast.errors import EngineError, StarcastError
from starcast.runtime.engines.base import (
    Arrays,
    Backend,
    EngineOptions,
    GraphFile,
    Session,
    made_for,
    one_line,
)
from starcast.runtime.manifest import Variant

if TYPE_CHECKING:
    import torch

    from starcast.export.torch_engine.graph import TorchGraph
    from starcast.train.adain import Implementation


class TorchBackend(Backend):
    """Opens float32 ONNX graphs, and converts them to a precision that is asked for."""

    name = "torch"
    extra = "export"
    on_card = True
    runs_also = ("openvino", "onnxruntime", "tensorrt", "tensorrt-rtx")
    converts = ("fp16", "bf16")

    def __init__(self) -> None:
        self._adain: Implementation | None = None  # tried once for all graphs: that compiles kernels

    def absent(self) -> str | None:
        missing = [package for package in ("torch", "onnx", "onnx_ir") if find_spec(package) is None]
        if missing:
            return f"not installed: {' and '.join(missing)}"
        try:
            import torch  # noqa: F401
        except (ImportError, OSError) as error:  # OSError: one of its libraries
            return f"installed, but does not load: {one_line(error)}"
        return None

    def supports(self, variant: Variant) -> str | None:
        if not made_for(variant, self):
            return f"{variant.file} was not made for {self.name}"
        # what was compared with PyTorch is in float32, in whatever precision it is to run now
        if variant.parity is None or variant.precision not in ("fp32", *self.converts):
            return f"{variant.file} is in {variant.precision}, which {self.name} makes of float32 graphs by itself"
        return None

    def version(self) -> str:
        import torch

        return str(torch.__version__)

    def devices(self, graph: bytes) -> Mapping[str, str | None]:
        import torch

        here = torch.cuda.is_available()
        return {"CPU": None, "CUDA": None if here else "no NVIDIA card, or a torch that was built without CUDA"}

    def open(self, graph: GraphFile, options: EngineOptions) -> Session:
        import torch

        from starcast.train.adain import choose_adain

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cpu" and options.threads is not None:
            torch.set_num_threads(options.threads)
        try:
            self._adain = self._adain or choose_adain("auto", device, options.say)
            opened = opened_graph(graph.path, options.precision, device, self._adain)
        except StarcastError:
            raise
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise EngineError(
                f"{graph.path} is refused by torch {self.version()} ({one_line(error)}): export the bundle again"
            ) from error
        if device.type == "cpu":
            return TorchSession(graph.path, opened)
        from starcast.export.torch_engine.gpu import Card, CardSession

        return CardSession(graph.path, opened, Card())


class TorchSession(Session):
    """One graph on the processor."""

    def __init__(self, path: Path, graph: TorchGraph) -> None:
        self._path = path
        self._graph: TorchGraph | None = graph

    def run(self, feeds: Arrays) -> Any:
        import torch

        assert self._graph is not None
        try:
            with torch.inference_mode():
                # a copy where the array may not be written to: torch would warn of it
                given = {name: torch.tensor(value) for name, value in feeds.items()}
                return self._graph(given).numpy()
        except (RuntimeError, ValueError) as error:
            raise failure(self._path, error) from error

    def close(self) -> None:
        self._graph = None


def opened_graph(path: Path, precision: str, device: torch.device, adain: Implementation) -> TorchGraph:
    """A graph with its weights on a device, its norms computed as `adain` says.

    Raises EngineError, OptionError, and what torch raises.
    """
    import onnx_ir as ir
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from starcast.export.torch_engine.graph import TorchGraph

    on_card = device.type == "cuda"
    try:
        model = ir.load(path)
    except (DecodeError, OSError) as error:
        raise EngineError(f"{path} cannot be read as ONNX ({one_line(error)}): export the bundle again") from error
    return TorchGraph(model, precision=precision, device=device, adain=adain, channels_last=on_card)


def failure(path: Path, error: Exception) -> EngineError:
    """The sentence for a run that torch ended."""
    return EngineError(f"torch failed in {path} ({one_line(error)}): try a smaller batch, or another --backend")
