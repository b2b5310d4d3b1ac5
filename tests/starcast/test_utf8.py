"""Names that are not UTF-8 reach libraries that take nothing else, JSON, and the terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast import utf8
from starcast.errors import OptionError
from starcast.utf8 import escape, is_utf8, json_text, utf8_path

LATIN = os.fsdecode(b"caf\xe9")
unix = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system takes UTF-8 alone")
TEXTS = st.text(st.characters(categories=["L", "N", "P", "Cs"]), max_size=8)


@unix
@pytest.mark.parametrize("name", ["graph.onnx", f"{LATIN}.onnx"])
def test_a_file_and_those_beside_it_are_reached_by_a_path_in_utf_8(tmp_path, name):
    folder = tmp_path / LATIN
    folder.mkdir()
    (folder / name).write_bytes(b"graph")
    (folder / "weights.data").write_bytes(b"weights")
    with utf8_path(folder / name) as path:
        str(path).encode()
        assert path.read_bytes() == b"graph"
        assert path.suffix == ".onnx"
        assert path.resolve().with_name("weights.data").read_bytes() == b"weights"
        if name == "graph.onnx":
            assert path.with_name("weights.data").read_bytes() == b"weights"
    assert not os.path.lexists(path.parent)
    with utf8_path(folder) as path:
        assert (path / "weights.data").read_bytes() == b"weights"


def test_a_path_in_utf_8_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(utf8, "temporary_folder", None)
    with utf8_path(tmp_path / "été.onnx") as path:
        assert path == tmp_path / "été.onnx"


@unix
def test_without_a_place_for_the_link_the_file_is_named(tmp_path, monkeypatch):
    (tmp_path / LATIN).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing/folder"))
    complaint = r"caf\\udce9 has a name that is not UTF-8, and no link .*: rename it"
    with pytest.raises(OptionError, match=complaint), utf8_path(tmp_path / LATIN):
        pass


@given(st.recursive(TEXTS | st.none() | st.integers(), lambda part: st.lists(part) | st.dictionaries(TEXTS, part)))
def test_json_that_is_printed_reads_back_as_it_was(value):
    assert json.loads(json_text(value)) == value
    json_text(value).encode()
    assert is_utf8(json.dumps(escape(value), ensure_ascii=False))


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_a_terminal_of_any_encoding_gets_whole_json_and_printable_messages(tmp_path, encoding):
    (tmp_path / "set/絵😀").mkdir(parents=True)
    config = tmp_path / "options.json"
    config.write_text(json.dumps({"domains": ["絵😀", "\x1b[2J"]}))
    run = [sys.executable, "-m", "starcast", "train", "set", "-o", "r", "--config", config, "--dry-run"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert json.loads(done.stdout.decode(encoding))["domains"] == ["絵😀", "\x1b[2J"]
    missing = [sys.executable, "-m", "starcast", "inspect", tmp_path / "set"]
    (tmp_path / "set").rename(tmp_path / "\x1b[2J絵")
    missing[-1] = tmp_path / "\x1b[2J絵"
    refused = subprocess.run(missing, env=environment, capture_output=True)
    assert refused.returncode == 2
    assert b"\x1b" not in refused.stderr
    assert rb"\x1b[2J" in refused.stderr
    assert b"?" not in refused.stderr
