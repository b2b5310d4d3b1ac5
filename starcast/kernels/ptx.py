"""The AdaIN kernel as PTX for a named architecture, compiled without a GPU, for an engine to carry.

    name(x, scale, shift, int rows, int C, int HW, y)        a grid of Tiling.grid(N, C) blocks of `threads` threads

x and y are of one type, scale and shift are float32; epsilon and slope are compiled in. Triton adds two pointers after
the parameters, to scratch memory that this kernel does not use. A caller that launches with a list of tensors, as
TensorRT does, could not pass them, so they are removed from the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from starcast.kernels.tiling import Tiling

HIDDEN = 2  # Triton's own parameters: global and profile scratch

# A driver refuses PTX newer than itself, and Triton writes the newest that it knows. LLVM ends the whole process if a
# version is too old for an architecture. So this table has the oldest version for each: 8.0, of CUDA 12.0 (2022), or a
# later one: 8.6 (12.7), 8.7 (12.8), 8.8 (12.9), 9.0 (13.0).
_OLDEST = {75: 80, 80: 80, 86: 80, 87: 80, 89: 80, 90: 80, 100: 86, 103: 88, 110: 90, 120: 87, 121: 88}


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel: its entry's name, the text, and how it is launched."""

    name: str
    ptx: str
    threads: int
    shared_bytes: int


def compile_normalise(
    compute_capability: tuple[int, int],
    tiling: Tiling,
    *,
    kind: str,
    channels_last: bool,
    epsilon: float,
    slope: float,
    aligned: Collection[str] = (),
) -> Kernel:
    """Compile the kernel for whole planes. `kind` is fp16, bf16 or fp32. `aligned` names which of C and HW are known to
    be multiples of 16, so that neighbours are read together; pointers always are (cudaMalloc's are multiples of
    256)."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from starcast.kernels.adain import normalise

    if tiling.slices != 1:
        raise ValueError("one kernel takes whole planes: give a tiling of one slice")
    fixed = {
        "facts": None, "EPSILON": epsilon, "SLOPE": slope,
        "CHANNELS": tiling.channels, "PIXELS": tiling.pixels, "CHANNELS_LAST": channels_last, "HELD": tiling.held,
    }  # fmt: skip
    types = {
        "x": f"*{kind}",
        "scale": "*fp32",
        "shift": "*fp32",
        "rows": "i32",
        "C": "i32",
        "HW": "i32",
        "y": f"*{kind}",
    }
    names: list[str] = normalise.arg_names
    sixteen = {name for name, type_ in types.items() if type_.startswith("*")} | set(aligned)
    source = ASTSource(
        fn=normalise,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs=fixed,
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in sixteen},
    )
    architecture = 10 * compute_capability[0] + compute_capability[1]
    # Triton 3.10 will turn fusion off by default: an engine's numbers should not depend on who built it.
    options = {"num_warps": tiling.warps, "ptx_version": ptx_version(architecture), "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    return _launchable(compiled, tiling)


def ptx_version(architecture: int) -> int:
    """The oldest PTX version that has the architecture (89 for sm_89): 88 for PTX 8.8. Raises ValueError for an unknown
    one."""
    if architecture not in _OLDEST:
        raise ValueError(f"sm_{architecture} is not known: give one of {', '.join(map(str, _OLDEST))}")
    return _OLDEST[architecture]


def _launchable(compiled: Any, tiling: Tiling) -> Kernel:
    name = compiled.metadata.name
    text = without_hidden_parameters(without_line_information(compiled.asm["ptx"]), name)
    return Kernel(name, text, threads=32 * tiling.warps, shared_bytes=compiled.metadata.shared)


def parameters(ptx: str, name: str) -> list[str]:
    """The entry's parameters in order, as their PTX types: `u64` for a pointer, `u32` for an int."""
    return [line.split()[1].lstrip(".") for line in _header(ptx, name).group(2).split(",")]


def without_hidden_parameters(ptx: str, name: str) -> str:
    """The text without the entry's last two parameters. Raises ValueError if the code reads them."""
    header = _header(ptx, name)
    kept = header.group(2).split(",")[:-HIDDEN]
    for number in range(len(kept), len(kept) + HIDDEN):
        if len(re.findall(rf"\b{name}_param_{number}\b", ptx)) != 1:
            raise ValueError(f"{name} uses Triton's scratch memory (parameter {number}): none is allocated at launch")
    return ptx[: header.start(2)] + ",".join(kept) + ptx[header.end(2) :]


def without_line_information(ptx: str) -> str:
    """The text without its links to lines of source, which name folders of the machine that compiled it."""
    code, _, _ = ptx.partition("\t.section\t.debug")
    lines = [line for line in code.splitlines() if not re.match(r"\s*\.(loc|file)\s", line)]
    return "\n".join(lines) + "\n"


def _header(ptx: str, name: str) -> re.Match[str]:
    found = re.search(rf"(\.entry {name}\()([^)]*)\)", ptx)
    if found is None:
        raise ValueError(f"no entry {name} in the PTX")
    return found
