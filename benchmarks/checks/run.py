"""`make gpu-check`: everything that only an NVIDIA card can show, run on one, as a JSON report.

    python -m starcast.benchmarks.checks --json gpu-check.json        exit status 0: nothing failed, 1: something
                                                                         did, 2: there is no card
    python -m starcast.benchmarks.checks --json gpu-check.json --only torch --only kernel --longest 300

Every check (card_checks.py) runs in a process of its own, and none stops the others. Its status is passed, failed, or
not run, the last two with a reason. A card that a TensorRT refuses is no failure: what is asked is whether it does.
The second line runs some of them, and leaves the other answers in the report: so many short runs make a whole one.
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

from starcast.benchmarks.bench.gpu_state import gpu_state
from starcast.benchmarks.checks.checks import CHECKS, PREPARE, Check, NotRunError, WrongError
from starcast.benchmarks.record import provenance, write_result
from starcast.errors import StarcastError
from starcast.runtime.nvidia.gpu import Gpu, current_gpu, why_no_gpu

COMMAND = (sys.executable, "-m", "starcast.benchmarks.checks")


@dataclass(frozen=True)
class Answer:
    """What became of a check."""

    status: str  # passed | failed | not run
    reason: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def answered(check: Check, folder: Path) -> Answer:
    """Run a check in this process."""
    try:
        return Answer("passed", figures=check.answer(folder))
    except NotRunError as error:
        return Answer("not run", str(error))
    except (WrongError, StarcastError) as error:
        return Answer("failed", str(error))
    except Exception as error:  # noqa: BLE001  # whatever a library raises is an answer, too
        traceback.print_exc()
        return Answer("failed", f"{type(error).__name__}: {error}")


def asked(check: Check, folder: Path, command: Sequence[str] = COMMAND) -> Answer:
    """Run a check in a process of its own. Its answer is the last line of JSON that it prints, as libraries may
    say something at their end; a crash is one as well, also behind the answer."""
    with subprocess.Popen(
        [*command, "--run", check.name, "--folder", str(folder)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        process_group=0,  # to be ended with all that it starts, and still in this session, to end with that
    ) as process:  # fmt: skip
        try:
            output, complaints = process.communicate(timeout=check.timeout_s)
        except subprocess.TimeoutExpired:
            return Answer("failed", f"it had not ended after {check.timeout_s:g} s")
        finally:
            _end_all(process)
    for line in reversed(output.splitlines() if process.returncode == 0 else ()):
        with suppress(ValueError, TypeError):
            return Answer(**json.loads(line))
    said = (complaints.strip().splitlines() or ["it said nothing"])[-1]
    return Answer("failed", f"the process ended {_ending(process.returncode)}: {said}")


def report(gpu: Gpu, answers: dict[str, Answer]) -> dict[str, Any]:
    """What is written, in the checks' order."""
    return {
        "card": {"name": gpu.name, "architecture": gpu.sm, "cuda": gpu.driver, "facts": gpu_state()},
        **provenance(threads=0, program="python -m starcast.benchmarks.checks"),
        "checks": [{"name": check.name, **vars(answers[check.name])} for check in CHECKS if check.name in answers],
    }


def kept(target: Path, gpu: Gpu, say: Callable[[str], None]) -> dict[str, Answer]:
    """The answers of an earlier report, which hold for its card, code and versions: none where this run has others."""
    if not target.exists():
        return {}
    try:
        old = json.loads(target.read_text("utf-8"))
        answers = {one["name"]: Answer(one["status"], one["reason"], one["figures"]) for one in old["checks"]}
        origin = _origin(old)
    except (ValueError, LookupError, TypeError):
        say(f"{target} is no report of these checks: it begins anew")
        return {}
    here = _origin(report(gpu, {}))
    if origin != here:
        say(f"{target} is of {origin}; this is {here}: it begins anew")
        return {}
    return answers


def run_all(
    checks: Sequence[Check], folder: Path, say: Callable[[str], None], ask: Callable[[Check, Path], Answer] = asked
) -> Iterator[tuple[str, Answer]]:
    """The name and the answer of every check, one after the other."""
    for check in checks:
        answer = ask(check, folder)
        say(f"{answer.status:8} {check.name}{f': {answer.reason}' if answer.reason else ''}")
        yield check.name, answer


def chosen(only: Sequence[str], longest: float) -> list[Check]:
    """The checks whose name has one of the texts in it (none: all of them), and what makes a bundle where one of them
    needs it; none has more time than the longest. Raises click.UsageError for a text that no name has."""
    for text in only:
        if not any(text in check.name for check in CHECKS):
            raise click.UsageError(f"no check has {text!r} in its name: --list names them")
    names = {check.name for check in CHECKS if not only or any(text in check.name for text in only)}
    if any(name.startswith("parity") for name in names):
        names.add(PREPARE)
    return [replace(check, timeout_s=min(check.timeout_s, longest)) for check in CHECKS if check.name in names]


def _adopt(folder: Path, bundle: Path) -> None:
    from starcast.benchmarks.checks.parity import adopt

    try:
        adopt(folder, bundle)
    except StarcastError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option(
    "--json",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the report. In one of the same card and code the answers of other checks stay.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, exists=True),
    help="A bundle of a trained network for the "
    "parity checks, with its checkpoint beside it; without it random weights, and a lower gate for them.",
)
@click.option("--only", metavar="TEXT", multiple=True, help="Only checks whose name has this in it; may be repeated.")
@click.option(
    "--longest",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=math.inf,
    help="No check may take longer, even if it is known to need the time.",
)
@click.option("--list", "listed", is_flag=True, help="Name the checks, and run none.")
@click.option("--run", "name", hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(
    target: Path | None, bundle: Path | None, only: tuple[str, ...], longest: float, listed: bool,
    name: str | None, folder: Path | None,
) -> None:  # fmt: skip
    """Run everything that only an NVIDIA card can show. Example: gpu_check --json gpu-check.json"""
    if name is not None and folder is not None:
        by_name = {check.name: check for check in CHECKS}
        click.echo(json.dumps(vars(answered(by_name[name], folder))))
        return
    checks = chosen(only, longest)
    if listed:
        click.echo("\n".join(check.name for check in checks))
        return
    gpu = current_gpu()
    if gpu is None:
        click.echo(f"Error: there is no NVIDIA card to check ({why_no_gpu()}): run it on a machine with one", err=True)
        sys.exit(2)
    with TemporaryDirectory() as work:
        if bundle is not None:
            _adopt(Path(work), bundle)
            checks = [check for check in checks if check.name != PREPARE]
        answers = {} if target is None else kept(target, gpu, click.echo)
        failed = 0
        for check, answer in run_all(checks, Path(work), click.echo):
            answers[check] = answer
            failed += answer.status == "failed"
            if target is not None:  # each time: what ends the run should not take the answers along
                write_result(target, report(gpu, answers))
    click.echo(f"{len(checks)} checks, {failed} failed")
    sys.exit(1 if failed else 0)


def _origin(of: dict[str, Any]) -> str:
    """The card and the code of a report, and what it ran with."""
    card, versions = of["card"], ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    return f"{card['name']} ({card['architecture']}, CUDA {card['cuda']}), code {of['sources']}, {versions}"


def _end_all(process: subprocess.Popen[str]) -> None:
    """End a process and what it started, which would keep the card busy. Windows knows that only as long as the process
    runs itself."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
