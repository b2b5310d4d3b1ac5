"""Every record that README or docs cite exists, names a command that exists, and comes from a clean tree."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest

from starcast.cli import root
from starcast.errors import OptionError

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
RECORDS = sorted(path.name for path in RESULTS.glob("*.json"))
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
ROOMS = ("starcast", "train", "export", "runtime", "benchmarks")
# modules that have moved since a record was made, whose command is otherwise the same
MOVED = {
    "starcast.benchmarks.adain_spellings": "starcast.benchmarks.studies.adain_spellings",
    "starcast.benchmarks.scaling": "starcast.benchmarks.studies.scaling",
    "starcast.benchmarks.steps": "starcast.benchmarks.studies.training_step",
}
# a record of the present code takes its mark away: the test below then fails
DIRTY: set[str] = set()


def cited_in(page: str) -> set[str]:
    """Records that a page takes figures from: in its tables' comments, in code quotes, and as links; not in commands,
    which write them."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    tables = re.findall(r"<!-- table \w+ ([\w.-]+\.json)", prose)
    named = re.findall(r"benchmarks/results/([\w.-]+\.json)", prose)
    figures = re.findall(r"^\*`([\w.-]+\.json)`", prose, flags=re.MULTILINE)
    return {*tables, *named, *figures}


def cited() -> dict[str, str]:
    """Every cited record, and a file that cites it."""
    found = {name: page.name for page in PAGES for name in cited_in(page.read_text("utf-8"))}
    for room in ROOMS:
        for file in sorted((REPOSITORY / room).rglob("*.py")):
            docs = re.sub(r"^ +(python -m|starcast) .*$", "", file.read_text("utf-8"), flags=re.MULTILINE)
            found |= dict.fromkeys(re.findall(r"`?benchmarks/results/([\w.-]+\.json)", docs), file.name)
    return found


def machine_of(record: dict[str, Any]) -> dict[str, Any]:
    machine: dict[str, Any] = (record.get("speed") or record)["machine"]
    return machine


def command_of(words: list[str]) -> click.Command:
    """The click command that a line of words starts. Raises LookupError, ImportError."""
    if words[:2] == ["python", "-m"]:
        module = importlib.import_module(MOVED.get(words[2], words[2]))
        [command] = [
            value for value in vars(module).values()
            if isinstance(value, click.Command) and value.callback.__module__ == module.__name__
        ]  # fmt: skip
        return command
    assert words[0] == "starcast"
    command = root.get_command(click.Context(root), words[1])
    if command is None:
        raise LookupError(f"starcast has no command {words[1]!r}")
    return command


def test_pages_cite_records():
    assert {"bench-paired.json", "training-step.json", "forms.json"} <= cited().keys()


@pytest.mark.parametrize("name", sorted(cited()))
def test_a_cited_record_exists(name):
    assert name in RECORDS, f"{cited()[name]} cites it"


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_cited(name):
    assert name in cited()


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_names_a_command_that_exists_and_takes_its_options(name):
    line = machine_of(json.loads((RESULTS / name).read_text("utf-8")))["command"]
    words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
    command = command_of(words)
    start = 3 if words[0] == "python" else 2
    parent = click.Context(root, **root.context_settings)  # a command keeps the help flags of its first context
    with suppress(OptionError):  # images that this machine lacks; an option that no longer exists raises UsageError
        command.make_context(command.name, words[start:], parent=parent)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.xfail(name in DIRTY, reason="measured with changes: measure it again", strict=True),
        )
        for name in RECORDS
    ],
)
def test_a_record_comes_from_a_clean_tree(name):
    commit = machine_of(json.loads((RESULTS / name).read_text("utf-8")))["commit"]
    assert re.fullmatch(r"[0-9a-f]{12,40}", commit)
