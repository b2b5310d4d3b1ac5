"""Run the checks that only an NVIDIA GPU can answer, and report them as JSON.

    python -m starcast.benchmarks.checks -o gpu-check.json
    python -m starcast.benchmarks.checks -o gpu-check.json --only torch --only kernel --longest 300

Exit status 0: nothing failed; 1: something failed; 2: there is no GPU. Each check (table.py) runs in a separate
process, so none stops the others. It ends as passed, failed or not run, the last two with a reason. If a TensorRT
refuses the GPU, that is an answer, not a failure. The second command runs some of the checks and keeps the report's
other answers, so that several short runs add up to a full report.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from starcast.benchmarks.bench.state import gpu_state
from starcast.benchmarks.checks.check import Check, NotRunError, WrongError, last_line
from starcast.benchmarks.checks.table import CHECKS, PREPARE
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import out_option
from starcast.errors import StarcastError
from starcast.path_types import ExistingPath
from starcast.runtime.nvidia.driver import Gpu
from starcast.runtime.nvidia.first_gpu import current_gpu, why_no_gpu

COMMAND = (sys.executable, "-m", "starcast.benchmarks.checks")


@dataclass(frozen=True)
class Answer:
    """How a check ended."""

    status: str  # passed | failed | not run
    reason: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def run_check(check: Check, folder: Path) -> Answer:
    """Run a check in this process."""
    try:
        return Answer("passed", figures=check.answer(folder))
    except NotRunError as error:
        return Answer("not run", str(error))
    except (WrongError, StarcastError) as error:
        return Answer("failed", str(error))
    except Exception as error:  # noqa: BLE001  # any exception from a library is a failure to report
        traceback.print_exc()
        return Answer("failed", f"{type(error).__name__}: {error}")


def run_apart(check: Check, folder: Path, command: Sequence[str] = COMMAND) -> Answer:
    """Run a check in a separate process. Its answer is the last line of JSON that it prints, since libraries may print
    more as they end. A crash is a failure, even after the answer."""
    with subprocess.Popen(
        [*command, "--run", check.name, "--folder", str(folder)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        process_group=0,  # a group can be killed as a whole, and still ends with this session
    ) as process:  # fmt: skip
        try:
            output, complaints = process.communicate(timeout=check.timeout_s)
        except subprocess.TimeoutExpired:
            return Answer("failed", f"it did not end within {check.timeout_s:g} s")
        finally:
            _end_all(process)
    for line in reversed(output.splitlines() if process.returncode == 0 else ()):
        with suppress(ValueError, TypeError):
            return Answer(**json.loads(line))
    return Answer("failed", f"the process ended {_ending(process.returncode)}: {last_line(complaints)}")


def report(gpu: Gpu, answers: dict[str, Answer]) -> dict[str, Any]:
    """The report, in the checks' order."""
    return {
        "gpu": {"name": gpu.name, "architecture": gpu.sm, "cuda": gpu.driver, "state": gpu_state()},
        **provenance(threads=0, program="python -m starcast.benchmarks.checks"),
        "checks": [{"name": check.name, **vars(answers[check.name])} for check in CHECKS if check.name in answers],
    }


def read_answers(target: Path, gpu: Gpu, progress: Callable[[str], None]) -> dict[str, Answer]:
    """The answers in an earlier report; none unless its GPU, code and versions are the same."""
    if not target.exists():
        return {}
    try:
        old = json.loads(target.read_text("utf-8"))
        answers = {check["name"]: Answer(check["status"], check["reason"], check["figures"]) for check in old["checks"]}
        origin = _origin(old)
    except (ValueError, LookupError, TypeError):
        progress(f"{target} is not a report of these checks: starting over")
        return {}
    here = _origin(report(gpu, {}))
    if origin != here:
        progress(f"{target} is of {origin}; this is {here}: starting over")
        return {}
    return answers


def run_all(
    checks: Sequence[Check],
    folder: Path,
    progress: Callable[[str], None],
    run: Callable[[Check, Path], Answer] = run_apart,
) -> Iterator[tuple[str, Answer]]:
    """The name and answer of each check, one after the other."""
    for check in checks:
        answer = run(check, folder)
        progress(f"{answer.status:8} {check.name}{f': {answer.reason}' if answer.reason else ''}")
        yield check.name, answer


def choose_checks(only: Sequence[str], longest: float) -> list[Check]:
    """The checks whose name contains one of these texts (no texts: all checks), and the check that prepares a bundle
    if they need it. No time limit exceeds `longest`. Raises click.UsageError if a text matches no check."""
    for text in only:
        if not any(text in check.name for check in CHECKS):
            raise click.UsageError(f"no check's name contains {text!r}: --list names them")
    names = {check.name for check in CHECKS if not only or any(text in check.name for text in only)}
    if any(name.startswith("parity") for name in names):
        names.add(PREPARE)
    return [replace(check, timeout_s=min(check.timeout_s, longest)) for check in CHECKS if check.name in names]


@click.command()
@out_option(
    "target", "a JSON report. An earlier one of the same GPU and code keeps its other answers.", required=False,
    aliases=("--json",),
)  # fmt: skip
@click.option(
    "--bundle",
    type=ExistingPath(),
    help="A trained bundle for the parity checks, with its checkpoint beside it. Default: random weights, with a "
    "lower gate.",
)
@click.option("--only", metavar="TEXT", multiple=True, help="Only checks whose name contains TEXT; may be repeated.")
@click.option(
    "--longest",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=math.inf,
    help="Upper bound in seconds for each check's time limit.",
)
@click.option("--list", "listed", is_flag=True, help="List the checks and exit.")
@click.option("--run", "name", hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(
    target: Path | None, bundle: Path | None, only: tuple[str, ...], longest: float, listed: bool,
    name: str | None, folder: Path | None,
) -> None:  # fmt: skip
    """Run the checks that only an NVIDIA GPU can answer.

    Example: python -m starcast.benchmarks.checks -o gpu-check.json
    """
    if name is not None and folder is not None:
        by_name = {check.name: check for check in CHECKS}
        click.echo(json.dumps(vars(run_check(by_name[name], folder))))
        return
    checks = choose_checks(only, longest)
    if listed:
        click.echo("\n".join(check.name for check in checks))
        return
    gpu = current_gpu()
    if gpu is None:
        click.echo(f"Error: there is no NVIDIA GPU to check ({why_no_gpu()}): run it on a machine with one", err=True)
        sys.exit(2)
    with TemporaryDirectory() as work:
        if bundle is not None:
            from starcast.benchmarks.checks.comparison import adopt_bundle

            try:
                adopt_bundle(Path(work), bundle)
            except StarcastError as error:
                raise click.ClickException(str(error)) from error
            checks = [check for check in checks if check.name != PREPARE]
        answers = {} if target is None else read_answers(target, gpu, click.echo)
        failed = 0
        for check, answer in run_all(checks, Path(work), click.echo):
            answers[check] = answer
            failed += answer.status == "failed"
            if target is not None:  # each time, so that an interrupted run keeps its answers
                write_result(target, report(gpu, answers))
    click.echo(f"{len(checks)} checks, {failed} failed")
    sys.exit(1 if failed else 0)


def _origin(of: dict[str, Any]) -> str:
    """A report's GPU, code and versions."""
    gpu, versions = of["gpu"], ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    return f"{gpu['name']} ({gpu['architecture']}, CUDA {gpu['cuda']}), code {of['sources']}, {versions}"


def _end_all(process: subprocess.Popen[str]) -> None:
    """End a process and its children, which would keep the GPU busy. Windows can list the children only while the
    process itself runs."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
