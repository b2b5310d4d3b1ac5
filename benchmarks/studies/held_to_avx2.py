"""How fast is each engine on a CPU with AVX2 alone? Measured on a CPU that has more, by holding the engines back.

    python -m starcast.benchmarks.studies.held_to_avx2 FOLDER   prints variables to set before `starcast bench`

PyTorch and OpenVINO take a limit from the environment. ONNX Runtime and ncnn take none: they ask the CPU which
registers the system saves (the instruction xgetbv), and use AVX-512 if its registers are among them. In the copies
made here the answer is always AVX's registers. Nothing else changes, and the installed packages stay as they are. For
Linux on x86. int8 instructions in AVX's registers (AVX-VNNI), which some CPUs have, stay in use.
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
LIBRARIES = ".libs"  # beside a package, where its wheel brought some
# xgetbv; where its bytes are the end of `and eax, 15; add eax, edx` or of a rotation's constant, they are no xgetbv
_QUESTION = re.compile(rb"(?<!\x83\xe0)(?<!\xc1\xc8)\x0f\x01\xd0")
_ANSWER = b"\xb0\x07\x90"  # mov al, 7 (x87, SSE, AVX); nop
LIMITS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OV_CPU_MAX_ISA": "AVX2"}


def hold_code(code: bytes) -> tuple[bytes, int]:
    """The machine code with every question answered by AVX, and the number of questions."""
    return _QUESTION.subn(_ANSWER, code)


def copy_held(package: str, folder: Path) -> int:
    """Copy an installed package into a folder, and hold its libraries to AVX2. Returns the number of their questions.

    Raises EngineError if it is not installed, or asks no question: then it would not be held.
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
        raise EngineError(f"{source} does not ask the CPU in a way that is known here, so it cannot be held to AVX2")
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
