"""Every engine held to AVX2 on a processor that has more, to see what they do on one that has not.

    python -m starcast.benchmarks.studies.held_to_avx2 FOLDER   prints variables to set before `starcast bench`

PyTorch and OpenVINO take a limit from the environment. ONNX Runtime and ncnn know none: they ask the processor which
registers the system saves for them (the instruction xgetbv), and take AVX-512 where its are among them. In the copies
that are made here the answer to that question is AVX's registers, always. Nothing else is changed, and nothing where
the packages are installed. On Linux, with x86. What some processors have for int8 in AVX's registers (AVX-VNNI) stays.
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


def held(code: bytes) -> tuple[bytes, int]:
    """Machine code whose every question has the answer AVX, and how many there were."""
    return _QUESTION.subn(_ANSWER, code)


def held_copy(package: str, folder: Path) -> int:
    """Copy an installed package into a folder, and hold its libraries; gives how many questions they asked.

    Raises EngineError where it is not installed, or asks nothing: then it would not be held.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise EngineError(f"{package} is not installed: leave it out, or pip install 'starcast[cpu,ncnn]'")
    source = Path(found.origin).parent
    for each in (source, source.with_name(f"{source.name}{LIBRARIES}")):
        if each.is_dir():
            shutil.copytree(each, folder / each.name, dirs_exist_ok=True)
    questions = 0
    for library in sorted((folder / source.name).rglob("*.so*")):
        code, count = held(library.read_bytes())
        if count:
            library.write_bytes(code)
            questions += count
    if not questions:
        raise EngineError(f"{source} asks its processor for nothing that is known here: it would not be held to AVX2")
    return questions


def keeps_vnni() -> bool:
    """Whether this processor has AVX-VNNI, which the copies go on to use."""
    try:
        return re.search(r"\bavx_vnni\b", Path("/proc/cpuinfo").read_text(errors="replace")) is not None
    except OSError:
        return False


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def held_to_avx2(folder: Path) -> None:
    """Put copies of ONNX Runtime and ncnn that use AVX2 alone into FOLDER."""
    if "AMX" in processor().instruction_sets:
        raise click.ClickException("this processor has AMX, of which the copies' answer says nothing: take another one")
    for package in PACKAGES:
        try:
            held_copy(package, folder)
        except EngineError as error:
            raise click.ClickException(str(error)) from error
    if keeps_vnni():
        click.echo("This processor has AVX-VNNI, and int8 is faster on it than AVX2 alone makes it.", err=True)
    variables = {"PYTHONPATH": str(folder.resolve()), **LIMITS}
    click.echo(" ".join(f"{name}={value}" for name, value in variables.items()))


if __name__ == "__main__":
    held_to_avx2()
