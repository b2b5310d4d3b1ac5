"""Commands that are printed can be pasted."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast import command_line as module
from starcast.command_line import command_line, path_argument

WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), min_size=1)


@given(WORDS)
def test_a_line_is_the_words_again(words):
    assert shlex.split(command_line(*words)) == words


@pytest.mark.skipif(os.name == "nt", reason="the shell of Unix")
@pytest.mark.parametrize("name", ["net (1).ckpt", "it's.pt", "a&b.pt", "$HOME.pt", "*.pt", "`id`.pt", "ü.pt", "-v.pt"])
def test_the_shell_reads_back_a_path(tmp_path, name):
    line = command_line(sys.executable, "-c", "import sys; print(sys.argv[1], end='')", path_argument(name))
    read = subprocess.run(["sh", "-c", line], capture_output=True, check=True, cwd=tmp_path, text=True).stdout
    assert Path(read) == Path(name)
    assert not read.startswith("-")


@pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="bash reads $'…'")
@pytest.mark.parametrize("name", [b"caf\xe9.pt", b"it's \\ \xff\n$HOME.pt", b"\xe9 (1)/\xc3\xa9!.pt"])
def test_bash_reads_back_a_path_that_is_not_utf_8(name):
    line = command_line(sys.executable, "-c", "import os, sys; print(os.fsencode(sys.argv[1]))", os.fsdecode(name))
    line.encode()  # it can be printed
    read = subprocess.run(["bash", "-c", line], capture_output=True, check=True, text=True).stdout
    assert ast.literal_eval(read) == name


def test_windows_gets_double_quotes(monkeypatch):
    monkeypatch.setattr(module, "WINDOWS", True)
    assert command_line("starcast", "export", r"C:\my models\net (1).ckpt", "-o", "b") == (
        r'starcast export "C:\my models\net (1).ckpt" -o b'
    )
    assert command_line("ffmpeg", "-map", "0:a?") == 'ffmpeg -map "0:a?"'


def test_no_room_prints_a_path_in_a_command_unquoted():
    """A command in an f-string would hold its path as it is: `command_line` quotes it."""
    root = Path(__file__).parents[2]
    rooms = [root / room for room in ("starcast", "runtime", "export", "train")]
    unquoted = re.compile(
        r"f[\"'][^\"'\n]*starcast (?:train|export|translate|video|morph|build|inspect|bench) [^\"'\n]*\{"
    )
    found = [file for room in rooms for file in room.rglob("*.py") if unquoted.search(file.read_text(encoding="utf-8"))]
    assert found == []
