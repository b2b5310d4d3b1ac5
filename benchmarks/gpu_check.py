"""`make gpu-check`: everything that only an NVIDIA card can show, run on one, as a JSON report.

    python -m starcast.benchmarks.gpu_check --json gpu-check.json        exit status 0: nothing failed, 1: something
                                                                         did, 2: there is no card
Every check (card_checks.py) runs in a process of its own, and none stops the others. Its status is passed, failed, or
not run, the last two with a reason. A card that a TensorRT refuses is no failure: what is asked is whether it does.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from starcast.benchmarks.card_checks import CHECKS, Check, NotRunError, WrongError
from starcast.benchmarks.card_facts import card_facts
from starcast.benchmarks.record import provenance, write_result
from starcast.errors import StarcastError
from starcast.runtime.cuda.gpu import Gpu, current_gpu, why_no_gpu

COMMAND = (sys.executable, "-m", "starcast.benchmarks.gpu_check")
PREPARE = "prepare: a bundle"


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
    child = [*command, "--run", check.name, "--folder", str(folder)]
    try:
        run = subprocess.run(
            child, capture_output=True, text=True, errors="replace", timeout=check.timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer("failed", f"it had not ended after {check.timeout_s:g} s")
    for line in reversed(run.stdout.splitlines() if run.returncode == 0 else ()):
        with suppress(ValueError, TypeError):
            return Answer(**json.loads(line))
    said = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return Answer("failed", f"the process ended {_ending(run.returncode)}: {said}")


def report(gpu: Gpu, answers: dict[str, Answer]) -> dict[str, Any]:
    """What is written."""
    return {
        "card": {"name": gpu.name, "architecture": gpu.sm, "cuda": gpu.driver, "facts": card_facts()},
        **provenance(threads=0, program="python -m starcast.benchmarks.gpu_check"),
        "checks": [{"name": name, **vars(answer)} for name, answer in answers.items()],
    }


def run_all(
    checks: Sequence[Check], folder: Path, say: Callable[[str], None], ask: Callable[[Check, Path], Answer] = asked
) -> dict[str, Answer]:
    """Every check's answer, by its name, in their order."""
    answers = {}
    for check in checks:
        answer = answers[check.name] = ask(check, folder)
        say(f"{answer.status:8} {check.name}{f': {answer.reason}' if answer.reason else ''}")
    return answers


def _prepare(folder: Path) -> dict[str, Any]:
    from starcast.benchmarks.card_parity import prepare

    prepare(folder)
    return {}


def _adopt(folder: Path, bundle: Path) -> None:
    from starcast.benchmarks.card_parity import adopt

    try:
        adopt(folder, bundle)
    except StarcastError as error:
        raise click.ClickException(str(error)) from error


ALL: tuple[Check, ...] = (Check(PREPARE, _prepare, 3600), *CHECKS)


@click.command()
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where to write the report.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, exists=True),
    help="A bundle of a trained network for the "
    "parity checks, with its checkpoint beside it; without it random weights, and a lower gate for them.",
)
@click.option("--only", metavar="TEXT", default="", help="Only checks whose name has this in it.")
@click.option("--list", "listed", is_flag=True, help="Name the checks, and run none.")
@click.option("--run", "name", hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(
    target: Path | None, bundle: Path | None, only: str, listed: bool, name: str | None, folder: Path | None
) -> None:
    """Run everything that only an NVIDIA card can show. Example: gpu_check --json gpu-check.json"""
    by_name = {check.name: check for check in ALL}
    if name is not None and folder is not None:
        click.echo(json.dumps(vars(answered(by_name[name], folder))))
        return
    chosen = [check for check in ALL if only in check.name or (check.name == PREPARE and "parity" in only)]
    if not chosen:
        raise click.UsageError(f"no check has {only!r} in its name: --list names them")
    if listed:
        click.echo("\n".join(check.name for check in chosen))
        return
    gpu = current_gpu()
    if gpu is None:
        click.echo(f"Error: there is no NVIDIA card to check ({why_no_gpu()}): run it on a machine with one", err=True)
        sys.exit(2)
    with TemporaryDirectory() as work:
        if bundle is not None:
            _adopt(Path(work), bundle)
            chosen = [check for check in chosen if check.name != PREPARE]
        answers: dict[str, Answer] = {}
        for check in chosen:  # written each time: what ends the run should not take the answers along
            answers |= run_all([check], Path(work), click.echo)
            if target is not None:
                write_result(target, report(gpu, answers))
    failed = sum(answer.status == "failed" for answer in answers.values())
    click.echo(f"{len(answers)} checks, {failed} failed")
    sys.exit(1 if failed else 0)


def _ending(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"


if __name__ == "__main__":
    main()
