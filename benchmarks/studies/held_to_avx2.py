"""How fast is each engine on a CPU with AVX2 alone? Measured on a newer CPU, with the engines limited to AVX2.

    python -m starcast.benchmarks.studies.held_to_avx2 FOLDER   prints variables to set before `starcast bench`

PyTorch and OpenVINO read a limit from the environment. ONNX Runtime and ncnn do not: they ask the CPU which registers
the system saves (the instruction xgetbv), and use AVX-512 if its registers are among them. This study patches copies
of their libraries so that the answer is always AVX's registers; the installed packages are not touched. For Linux on
x86. AVX-VNNI, int8 instructions on AVX's registers, stays in use on CPUs that have it.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import click

from starcast.errors import EngineError
from starcast.runtime.machine import processor

PACKAGES = ("onnxruntime", "ncnn")
LIBRARIES = ".libs"  # suffix of the folder beside a package that holds its wheel's libraries
# xgetbv, but not the same bytes at the end of `and eax, 15; add eax, edx` or `ror eax, 15; add eax, edx`
_QUESTION = re.compile(rb"(?<!\x83\xe0)(?<!\xc1\xc8)\x0f\x01\xd0")
_ANSWER = b"\xb0\x07\x90"  # mov al, 7 (x87, SSE, AVX); nop
LIMITS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OV_CPU_MAX_ISA": "AVX2"}


def hold_code(code: bytes) -> tuple[bytes, int]:
    """The machine code with every xgetbv replaced by the answer "AVX", and how many there were."""
    return _QUESTION.subn(_ANSWER, code)


def copy_held(package: str, folder: Path) -> int:
    """Copy an installed package into a folder, and limit its libraries to AVX2. Returns how many xgetbv were replaced.

    Raises EngineError if it is not installed, or has no xgetbv to replace: then it would not be limited.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EngineError(f"{package} is not installed: leave it out, or pip install 'starcast[cpu,ncnn]'")
    source = Path(spec.origin).parent
    for each in (source, source.with_name(f"{source.name}{LIBRARIES}")):
        if each.is_dir():
            shutil.copytree(each, folder / each.name, dirs_exist_ok=True)
    questions = 0
    for library in sorted((folder / source.name).rglob("*.so*")):
        code, count = hold_code(library.read_bytes())
        if count:
            library.write_bytes(code)
            questions += count
    if not questions:
        raise EngineError(f"{source} does not detect AVX-512 with xgetbv and cannot be limited to AVX2: leave it out")
    return questions


def keeps_vnni() -> bool:
    """Whether this CPU has AVX-VNNI, which the copies still use."""
    try:
        return re.search(r"\bavx_vnni\b", Path("/proc/cpuinfo").read_text(errors="replace")) is not None
    except OSError:
        return False


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def held_to_avx2(folder: Path) -> None:
    """Write copies of ONNX Runtime and ncnn that use AVX2 alone into FOLDER."""
    if "AMX" in processor().instruction_sets:
        raise click.ClickException("this CPU has AMX, which the copies would still use: measure on another one")
    for package in PACKAGES:
        try:
            copy_held(package, folder)
        except EngineError as error:
            raise click.ClickException(str(error)) from error
    if keeps_vnni():
        click.echo("This CPU has AVX-VNNI, which makes int8 faster than AVX2 alone.", err=True)
    variables = {"PYTHONPATH": str(folder.resolve()), **LIMITS}
    click.echo(" ".join(f"{name}={value}" for name, value in variables.items()))


if __name__ == "__main__":
    held_to_avx2()
