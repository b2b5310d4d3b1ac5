"""The README names every command, and what it shows can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from starcast.cli import VERBS, root

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\n(.*?)```", README, re.DOTALL)
SHOWN = sorted({line for block in BLOCKS for line in block.splitlines() if line.startswith("starcast ")})


def test_every_command_stands_in_the_readme():
    assert [verb for verb in VERBS if f"`starcast {verb}" not in README] == []


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_that_the_readme_shows_has_those_options(line):
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = root
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_readme_shows_the_main_jobs():
    assert {line.split()[1] for line in SHOWN} >= {"dataset", "train", "export", "translate", "video"}
