"""The tests that are marked `gpu`, run as a check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from starcast.benchmarks.checks.check import Figures, NotRunError, WrongError, last_line


def run_marked_tests(folder: Path) -> Figures:
    """Run them with pytest from the checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests").is_dir():
        raise NotRunError("this is no checkout: there are no tests")
    # name the files: collecting the others would end the run on a machine that lacks a package of theirs
    files = [str(file) for file in sorted((root / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    # Warnings are errors only where versions are pinned; here they are the machine's. No -q: the project's options have
    # one, and two would drop the summary.
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
