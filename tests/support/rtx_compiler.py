"""TensorRT for RTX as a compiler, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

from starcast.runtime.nvidia.tensorrt.compiler import compile_engine
from starcast.runtime.nvidia.tensorrt.messages import Request
from starcast.runtime.nvidia.tensorrt.profiles import Profile


def compile_for_rtx(graph: Path, inputs: dict[str, Profile]) -> None:
    """Compile a graph for sm89, where TensorRT for RTX is installed. Raises EngineError if it refuses the graph."""
    try:
        import tensorrt_rtx
    except ImportError:
        return
    request = Request(flavour="tensorrt-rtx", graph=str(graph), output="", inputs=inputs, target="sm89")
    compile_engine(tensorrt_rtx, request)
