"""Checks that run another program: the tests marked `gpu`, and NVIDIA's compute-sanitizer over the Triton kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from starcast.benchmarks.checks.check import Figures, NotRunError, WrongError, last_line, require_torch_gpu


def run_marked_tests(folder: Path) -> Figures:
    """Run the tests marked `gpu` with pytest, from the checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests").is_dir():
        raise NotRunError("this is not a checkout: there are no tests")
    # name the files: collecting the others would end the run on a machine that lacks a package they need
    files = [str(file) for file in sorted((root / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    # Warnings are errors only where versions are pinned, which this machine's are not. No -q: the project's options
    # have one, and two would drop the summary.
    options = ["-m", "gpu", "-W", "default", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace", check=False)
    summary = last_line(run.stdout)
    if run.returncode == 5:  # pytest's status for "no tests collected"
        raise NotRunError("no test is marked gpu")
    if run.returncode:
        failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        raise WrongError("; ".join((summary, *failed[:10])))
    if " passed" not in f" {summary}":  # all were skipped
        raise NotRunError(summary)
    return {"summary": summary}


# tool -> its last line if it finds nothing
TOOLS = {"memcheck": "ERROR SUMMARY: 0 errors", "racecheck": "RACECHECK SUMMARY: 0 hazards"}
OPTIONS = (
    "--error-exitcode", "9",
    "--report-api-errors", "no",  # libraries probe the driver for optional features
    "--launch-timeout", "0",  # otherwise it gives up on a program that starts slowly, and watches nothing
)  # fmt: skip
# planes that one program holds, planes that are split, and planes that one program reads twice, as the kernels differ;
# each in either layout, forward and backward
SHAPES = ((1, 8, 7, 9), (2, 64, 33, 31), (1, 2, 131, 127), (1, 132, 131, 127), (132, 32, 46, 47))
ALL_RAN = "every norm has run"
PROGRAM = f"""
import torch
from starcast.train.adain import adain_leaky_relu
for shape in {SHAPES}:
    for kind in (torch.float16, torch.float32):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape, device="cuda").to(kind).contiguous(memory_format=layout).requires_grad_()
            affine = [torch.randn(shape[:2], device="cuda", requires_grad=True) for _ in range(2)]
            adain_leaky_relu(x, *affine, implementation="triton").sum().backward()
torch.cuda.synchronize()
print("{ALL_RAN}")
"""


def sanitize_kernel(folder: Path) -> Figures:
    """Run the kernel under each of the tools."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise NotRunError("compute-sanitizer is not on the path: it comes with the CUDA toolkit")
    require_torch_gpu()
    for kind, clean in TOOLS.items():
        run = subprocess.run(
            [tool, "--tool", kind, *OPTIONS, sys.executable, "-c", PROGRAM],
            capture_output=True, text=True, errors="replace", check=False,
            # otherwise only overruns of torch's large blocks would be found
            env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        )  # fmt: skip
        output = run.stdout + run.stderr
        if run.returncode or clean not in output or ALL_RAN not in output:  # a tool that watched nothing also reports 0
            raise WrongError(f"{kind} ended with status {run.returncode}: {_complaint(output, clean)}")
    return {"tools": list(TOOLS)}


def _complaint(output: str, clean: str) -> str:
    """The first finding of compute-sanitizer, otherwise the program's last line."""
    lines = [line.strip("= ") for line in output.splitlines() if line.startswith("=====")]
    findings = [line for line in lines if line not in ("", "COMPUTE-SANITIZER") and clean not in line]
    return findings[0] if findings else last_line(output)
