"""The precisions that export writes: the gate each must pass, the engines that run it, and its number types.

Imports neither torch nor onnx: `--help` is made from this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

CPU_ENGINES = ("openvino", "onnxruntime", "ncnn")
TENSORRT = "tensorrt"  # for export; TensorRT and TensorRT for RTX both read its graphs


@dataclass(frozen=True)
class Gate:
    """PSNR to float32 that every domain must reach, in dB: on average over its images, and for the worst image."""

    mean: float
    worst: float = 0.0

    def moved_to(self, mean: float | None) -> Gate:
        """The gate with another mean and the same distance from mean to worst; this gate if `mean` is None."""
        if mean is None:
            return self
        return Gate(mean, max(0.0, self.worst + mean - self.mean) if self.worst else 0.0)


@dataclass(frozen=True, kw_only=True)
class Precision:
    """A precision of a frame graph.

    `gate`: the PSNR its translations must reach; None for float32, which is compared with PyTorch itself. `engines`:
    the engines that run it. `half`: type of the values in TensorRT's graph. `codes`: type of the codes, if it has any.
    """

    name: str
    gate: Gate | None
    engines: tuple[str, ...]
    half: Literal["float16", "bfloat16"] | None = None
    codes: Literal["int8", "float8_e4m3fn"] | None = None

    def gate_for(self, min_psnr: float | None) -> Gate:
        """The gate, moved to `min_psnr` as its mean if given. Float32 has none."""
        assert self.gate is not None
        return self.gate.moved_to(min_psnr)


_TABLE = (
    Precision(name="fp32", gate=None, engines=(*CPU_ENGINES, TENSORRT)),
    Precision(name="fp16", gate=Gate(mean=40.0, worst=40.0), engines=(TENSORRT,), half="float16"),
    Precision(name="bf16", gate=Gate(mean=40.0), engines=("openvino", TENSORRT), half="bfloat16"),
    Precision(
        name="int8", gate=Gate(mean=35.0, worst=30.0), engines=("openvino", "onnxruntime", TENSORRT), half="float16",
        codes="int8",
    ),
    Precision(name="fp8", gate=Gate(mean=30.0), engines=(TENSORRT,), half="float16", codes="float8_e4m3fn"),
)  # fmt: skip
PRECISIONS: Mapping[str, Precision] = MappingProxyType({precision.name: precision for precision in _TABLE})


def precisions_for(engines: Iterable[str]) -> tuple[str, ...]:
    """The precisions that at least one of these engines runs, in the table's order."""
    wanted = set(engines)
    return tuple(name for name, precision in PRECISIONS.items() if wanted.intersection(precision.engines))


def gate_of(precision: str) -> Gate:
    """The PSNR gate of a precision below float32."""
    return PRECISIONS[precision].gate_for(None)
