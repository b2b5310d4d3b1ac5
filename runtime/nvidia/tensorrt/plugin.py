"""starcast::AdainLeakyRelu for TensorRT proper: the Triton kernel of `starcast.kernels`, carried by the engine as PTX.

    y = AdainLeakyRelu(x, scale, shift; epsilon, slope)

x and y are [N, C, H, W], both in float32, float16 or bfloat16; scale and shift are float32, [N or 1, C] or [C]. The
kernel is compiled ahead of time: building an engine needs Python and Triton, running it needs neither. TensorRT passes
a kernel pointers to the inputs, then integers, then pointers to the outputs, and nothing else. So attributes are
compiled in, and each node is one kernel (`tiling_for(…, whole=True)`): two would need memory between them. No GPU has
run it yet.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from starcast.errors import EngineError, MissingExtraError
from starcast.kernels.ptx import Kernel, compile_normalise, ptx_version
from starcast.kernels.tiling import Tiling, tiling_for
from starcast.runtime.nvidia.first_gpu import current_gpu, why_no_gpu

NAMESPACE, NAME = "starcast", "AdainLeakyRelu"

# by TensorRT's name of the type: its word in format strings, Triton's name, bytes, TensorRT's channels-last layout, and
# the number of which C must be a multiple for that layout to have no gaps
KINDS = {
    "FLOAT": ("FP32", "fp32", 4, "HWC", 1), "HALF": ("FP16", "fp16", 2, "HWC8", 8),
    "BF16": ("BF16", "bf16", 2, "HWC8", 8),
}  # fmt: skip
ENOUGH = 66  # programs: half as many as an H100 has multiprocessors
VECTOR = 16  # sizes that are multiples of it are read in vectors


def register(module: Any) -> None:
    """Register the plugin with TensorRT (the imported module). Calling it again has no effect.

    Raises EngineError if this TensorRT accepts no plugins in PTX or there is no GPU to compile for, and
    MissingExtraError without Triton.
    """
    if importlib.util.find_spec("triton") is None:
        raise MissingExtraError(
            "a graph with plugins is built with Triton, which is not installed: pip install 'starcast[tensorrt]'"
        )
    gpu = current_gpu()
    if gpu is None:
        raise EngineError(f"plugins are compiled for the GPU at hand ({why_no_gpu()}): build on its machine")
    major, minor = gpu.compute_capability
    try:
        ptx_version(10 * major + minor)  # now, because an error raised when TensorRT asks for the kernel would be lost
    except ValueError as error:
        raise EngineError(
            f"this starcast compiles no kernel for {gpu.name} ({error}): "
            "give another --form, one whose name does not end in -plugin"
        ) from error
    try:
        plugins = importlib.import_module(f"{module.__name__}.plugin")
    except ImportError as error:
        raise EngineError(f"{module.__name__} {module.__version__} has no plugins in Python ({error})") from error
    if not hasattr(plugins, "aot_impl"):
        raise EngineError(f"{module.__name__} {module.__version__} takes no plugins in PTX: use 10.12 or later")
    if not hasattr(plugins.op, NAMESPACE) or not hasattr(getattr(plugins.op, NAMESPACE), NAME):
        _register(plugins, gpu.compute_capability)


def _register(plugins: Any, compute_capability: tuple[int, int]) -> None:
    """Register the functions. TensorRT reads their parameters' names and annotations, which must be its classes, not
    strings."""
    identity, desc = f"{NAMESPACE}::{NAME}", plugins.TensorDesc
    # not `float`: for a float, 10.x converts an array of one element to a number, which NumPy now refuses
    one = np.ndarray[Any, np.dtype[np.float32]]
    attributes = {"epsilon": one, "slope": one}
    inputs = {"x": desc, "scale": desc, "shift": desc}

    def describe(x: Any, scale: Any, shift: Any, epsilon: Any, slope: Any) -> Any:
        return x.like()

    def layouts(x: Any, scale: Any, shift: Any, outputs: Any) -> Any:
        word, _, _, _, _ = KINDS[x.dtype.name]
        return [
            plugins.AutoTuneCombination(f"{word}, FP32, FP32, {word}", f"{layout}, LINEAR, LINEAR, {layout}")
            for layout in formats(x.dtype.name, x.shape)
        ]

    def implement(x: Any, scale: Any, shift: Any, epsilon: Any, slope: Any, outputs: Any, tactic: Any) -> Any:
        kernel, tiling = _kernel(x, float(epsilon[0]), float(slope[0]), compute_capability)
        samples, channels, height, width = x.shape_expr
        launch = plugins.KernelLaunchParams()
        launch.grid_x = plugins.cdiv(channels, tiling.channels)
        launch.grid_z = samples
        launch.block_x = kernel.threads
        launch.shared_mem = kernel.shared_bytes
        numbers = plugins.SymIntExprs(3)  # after the inputs: rows, C, HW
        numbers[0] = scale.shape_expr[0] if scale.ndim == 2 else plugins.SymInt32(1)
        numbers[1] = channels
        numbers[2] = height * width
        return kernel.name, kernel.ptx, launch, numbers

    describe.__annotations__ = {**inputs, **attributes, "return": desc}
    layouts.__annotations__ = {
        **inputs,
        "outputs": tuple[plugins.TensorDesc],
        "return": list[plugins.AutoTuneCombination],
    }
    implement.__annotations__ = {
        **inputs, **attributes, "outputs": tuple[plugins.TensorDesc], "tactic": int,
        "return": tuple[str, str, plugins.KernelLaunchParams, plugins.SymIntExprs],
    }  # fmt: skip
    plugins.register(identity)(describe)
    plugins.autotune(identity)(layouts)
    plugins.aot_impl(identity)(implement)


def formats(kind: str, shape: Any) -> tuple[str, ...]:
    """TensorRT's layouts that the kernel supports: linear; and channels last, if TensorRT would not pad the channels
    and the kernel still fills the GPU, as each program then has many channels. With fewer programs, TensorRT would
    still time that layout, and choose it for a batch at which it happens to be no slower."""
    _, _, item_bytes, last, multiple = KINDS[kind]
    if shape[1] % multiple:
        return ("LINEAR",)
    tiling = _tiling(shape, item_bytes, channels_last=True)
    groups, _, samples = tiling.grid(_usual(shape)[0], shape[1])
    return ("LINEAR", last) if tiling.held or groups * samples >= ENOUGH else ("LINEAR",)


def _kernel(x: Any, epsilon: float, slope: float, compute_capability: tuple[int, int]) -> tuple[Kernel, Tiling]:
    _, kind, item_bytes, _, _ = KINDS[x.dtype.name]
    last = x.format.name != "LINEAR"
    tiling = _tiling(x.shape, item_bytes, channels_last=last)
    aligned = {"C": x.shape[1] % VECTOR == 0, "HW": _always_divides(x.shape)}
    kernel = compile_normalise(
        compute_capability, tiling, kind=kind, channels_last=last, epsilon=epsilon, slope=slope,
        aligned=[name for name, does in aligned.items() if does],
    )  # fmt: skip
    return kernel, tiling


def _usual(shape: Any) -> Any:
    return shape.opt if shape.is_dynamic else shape


def _tiling(shape: Any, item_bytes: int, *, channels_last: bool) -> Tiling:
    """The tiling for the usual batch of the largest planes: a program that holds those has room for any others."""
    samples, channels, *_ = _usual(shape)
    height, width = (shape.max if shape.is_dynamic else shape)[2:]
    return tiling_for(
        samples, channels, height * width, item_bytes=item_bytes, channels_last=channels_last, whole=True
    )  # fmt: skip


def _always_divides(shape: Any) -> bool:
    """Whether every plane of the profile can be read in vectors: the profile has one size, a multiple of VECTOR."""
    sizes = {tuple(bound)[2:] for bound in ((shape.min, shape.max) if shape.is_dynamic else (tuple(shape),))}
    return len(sizes) == 1 and all(height * width % VECTOR == 0 for height, width in sizes)
