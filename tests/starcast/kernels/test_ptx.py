"""The kernel compiled for GPUs that are not here: the entry's interface, and that NVIDIA's assembler takes it."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from assembled import Taken, assembled

from starcast.kernels.ptx import Kernel, compile_normalise, parameters, ptx_version, without_hidden_parameters
from starcast.kernels.tiling import power_of_two, tiling_for

if TYPE_CHECKING:
    from triton import JITFunction

TARGETS = {
    (7, 5): ("8.0", "sm_75"), (8, 0): ("8.0", "sm_80"), (8, 6): ("8.0", "sm_86"), (8, 9): ("8.0", "sm_89"),
    (9, 0): ("8.0", "sm_90a"), (10, 0): ("8.6", "sm_100a"), (12, 0): ("8.7", "sm_120a"),
}  # fmt: skip
WAYS = {"fp16 linear": ("fp16", False), "bf16 channels last": ("bf16", True), "fp32 channels last": ("fp32", True)}

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))


def compiled(capability: tuple[int, int], kind: str, last: bool, aligned: tuple[str, ...] = ("C", "HW")) -> Kernel:
    tiling = tiling_for(1, 64, 256 * 256, item_bytes=4 if kind == "fp32" else 2, channels_last=last, whole=True)
    return compile_normalise(
        capability, tiling, kind=kind, channels_last=last, epsilon=1e-5, slope=0.2, aligned=aligned
    )


@needs_triton
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("capability", TARGETS, ids=lambda capability: TARGETS[capability][1])
def test_the_kernel_is_compiled_for_every_gpu_and_assembled(capability, way):
    version, target = TARGETS[capability]
    kernel = compiled(capability, *WAYS[way])
    assert re.search(r"^\.version (.*)$", kernel.ptx, re.MULTILINE).group(1) == version
    assert re.search(r"^\.target (.*)$", kernel.ptx, re.MULTILINE).group(1) == target
    assert f".reqntid {kernel.threads}" in kernel.ptx
    taken = assembled(kernel.ptx, target)
    assert taken.spilled == 0
    # as many threads as two programs of 16 warps have
    assert taken.programs(kernel.threads) * kernel.threads >= 1024


AFHQ = [(64, 256), (64, 128), (128, 128), (128, 64), (256, 64), (256, 32), (512, 32), (512, 16)]  # channels, side
TYPES = {
    **dict.fromkeys(("scale", "shift", "facts", "partials", "sums"), "*fp32"),
    **dict.fromkeys(("rows", "C", "HW", "tiles"), "i32"),
}  # fmt: skip


def launches(kind: str, last: bool, samples: int, inputs: int) -> Iterator[tuple[JITFunction, dict[str, Any], int]]:
    """What `adain_triton` launches for AFHQ's planes, each once: kernel, constants, warps."""
    from starcast.kernels import adain

    for channels, side in AFHQ:
        tiling = tiling_for(
            samples, channels, side**2, item_bytes=4 if kind == "fp32" else 2, channels_last=last, inputs=inputs
        )
        fixed = {"CHANNELS": tiling.channels, "PIXELS": tiling.pixels, "CHANNELS_LAST": last, "SLOPE": 0.2}
        joined = {"EPSILON": 1e-5, "HELD": tiling.held, "SLICES": power_of_two(tiling.slices)}
        names = {
            (1, True): ["normalise"], (1, False): ["slice_statistics", "apply_statistics"],
            (2, True): ["gradients"], (2, False): ["slice_sums", "apply_sums"],
        }[inputs, tiling.slices == 1]  # fmt: skip
        for name in names:
            kernel = getattr(adain, name)
            yield (
                kernel,
                {key: value for key, value in (fixed | joined).items() if key in kernel.arg_names},
                tiling.warps,
            )


@functools.cache
def compiled_once(
    kernel: JITFunction, fixed: tuple[tuple[str, Any], ...], warps: int, kind: str, capability: tuple[int, int]
) -> tuple[str, Taken]:
    """A kernel's PTX, and what the assembler makes of it. Batches of 1 and 8 share many kernels."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = dict(fixed)
    types = {name: TYPES.get(name, f"*{kind}") for name in kernel.arg_names if name not in constants}
    sixteen = [name for name, type_ in types.items() if type_.startswith("*") or name in {"C", "HW"}]
    source = ASTSource(
        fn=kernel, signature={name: types.get(name, "constexpr") for name in kernel.arg_names}, constexprs=constants,
        attrs={(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in sixteen},
    )  # fmt: skip
    architecture = 10 * capability[0] + capability[1]
    made = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": warps})
    return made.asm["ptx"], assembled(made.asm["ptx"], TARGETS[capability][1])


@needs_triton
@pytest.mark.parametrize("inputs", [1, 2], ids=["forward", "backward"])
@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize(("kind", "capability"), [("fp16", (9, 0)), ("fp32", (8, 0))])
def test_no_kernel_of_training_spills_at_afhqs_sizes(kind, capability, last, samples, inputs):
    for kernel, fixed, warps in launches(kind, last, samples, inputs):
        key = (kernel.__name__, *sorted(fixed.items()), warps)
        ptx, taken = compiled_once(kernel, tuple(sorted(fixed.items())), warps, kind, capability)
        assert taken.spilled == 0, key
        assert taken.programs(32 * warps) >= (2 if warps <= 8 else 1), key
        assert re.search(r"ld\.global[\w.:]*\.v4", ptx), key


@needs_triton
@pytest.mark.parametrize("way", WAYS)
def test_the_entry_takes_inputs_then_numbers_then_the_output_and_nothing_else(way):
    kernel = compiled((8, 9), *WAYS[way])
    assert parameters(kernel.ptx, kernel.name) == 3 * ["u64"] + 3 * ["u32"] + ["u64"]
    for number in range(7):
        assert f"[{kernel.name}_param_{number}]" in kernel.ptx
    assert f"{kernel.name}_param_7" not in kernel.ptx
    assert kernel.shared_bytes <= 48 * 1024  # more has to be asked for


@needs_triton
@pytest.mark.parametrize(("aligned", "wide"), [(("C", "HW"), True), (("C",), False)])
def test_planes_that_divide_by_sixteen_are_read_in_vectors(aligned, wide):
    kernel = compiled((8, 9), "fp16", False, aligned)
    assert ("ld.global.v4" in kernel.ptx) == wide


@needs_triton
def test_channels_last_is_read_in_vectors_whatever_the_planes():
    assert "ld.global.v4" in compiled((8, 9), "fp16", True, ("C",)).ptx


@needs_triton
def test_the_text_names_no_file():
    kernel = compiled((8, 9), "fp16", False)
    assert "adain.py" not in kernel.ptx
    assert str(Path(__file__).resolve().parents[3]) not in kernel.ptx


@needs_triton
def test_compiling_needs_no_torch(tmp_path):
    script = """
import sys
sys.modules["torch"] = None
from starcast.kernels.ptx import compile_normalise
from starcast.kernels.tiling import tiling_for
tiling = tiling_for(1, 64, 4096, item_bytes=2, channels_last=False, whole=True)
compile_normalise((8, 9), tiling, kind="fp16", channels_last=False, epsilon=1e-5, slope=0.2)
"""
    # Triton builds syntax trees in a way that Python 3.13 warns about
    theirs = "ignore::DeprecationWarning:triton.compiler.code_generator"
    done = subprocess.run([sys.executable, "-W", "error", "-W", theirs, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("architecture", "version"), [(75, 80), (90, 80), (100, 86), (103, 88), (110, 90), (120, 87), (121, 88)]
)
def test_the_version_is_the_oldest_that_has_the_architecture(architecture, version):
    assert ptx_version(architecture) == version


def test_an_architecture_that_is_not_known_is_refused_and_not_guessed():
    with pytest.raises(ValueError, match="sm_70 is not known: give one of 75, 80"):
        ptx_version(70)


def test_planes_in_slices_are_not_one_kernel():
    tiling = tiling_for(1, 1, 2**20, item_bytes=2, channels_last=False)
    with pytest.raises(ValueError, match="whole planes: give a tiling of one slice"):
        compile_normalise((8, 9), tiling, kind="fp16", channels_last=False, epsilon=1e-5, slope=0.2)


ENTRY = """.visible .entry kernel(
	.param .u64 .ptr .global .align 1 kernel_param_0,
	.param .u32 kernel_param_1,
	.param .u64 .ptr .global .align 1 kernel_param_2,
	.param .u64 .ptr .global .align 1 kernel_param_3
)
{
	ld.param.b64 	%rd1, [kernel_param_0];
	ld.param.b32 	%r1, [kernel_param_1];
"""


def test_parameters_that_triton_adds_are_taken_out():
    assert parameters(ENTRY, "kernel") == ["u64", "u32", "u64", "u64"]
    assert parameters(without_hidden_parameters(ENTRY, "kernel"), "kernel") == ["u64", "u32"]


def test_parameters_that_the_code_reads_are_not_taken_out():
    used = ENTRY + "\tld.param.b64 	%rd2, [kernel_param_3];\n"
    with pytest.raises(ValueError, match="kernel uses Triton's scratch memory \\(parameter 3\\)"):
        without_hidden_parameters(used, "kernel")


def test_a_text_without_the_entry_is_refused():
    with pytest.raises(ValueError, match="no entry other in the PTX"):
        parameters(ENTRY, "other")
