from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starcast.runtime.engines import cache

FACTS = ("graph", "engine", "1.0")
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")


class Compiler:
    """Counts how often it has to work, and what is loaded."""

    def __init__(self, folder: Path | None, content: bytes = b"compiled") -> None:
        self.folder, self.content, self.compiled = folder, content, 0

    def open(self, facts: tuple[str, ...] = FACTS, refused: bool = False) -> str | None:
        def compile_graph() -> bytes:
            self.compiled += 1
            return self.content

        def load(content: bytes) -> str:
            if refused:
                raise RuntimeError("of another version")
            return content.decode()

        return cache.open_cached(self.folder, facts, compile_graph, load, (RuntimeError,))


def test_the_second_start_loads_what_the_first_compiled(tmp_path):
    compiler = Compiler(tmp_path / "a/b")
    assert [compiler.open(), compiler.open()] == ["compiled", "compiled"]
    assert compiler.compiled == 1


@pytest.mark.parametrize("facts", [("other", "engine", "1.0"), ("graph", "engine", "1.1")])
def test_another_graph_or_version_is_compiled_anew(tmp_path, facts):
    compiler = Compiler(tmp_path)
    compiler.open()
    compiler.open(facts)
    assert compiler.compiled == 2


def test_another_processor_compiles_anew(tmp_path, monkeypatch):
    compiler = Compiler(tmp_path)
    compiler.open()
    monkeypatch.setattr(cache, "processor", lambda: "without AVX2")
    compiler.open()
    assert compiler.compiled == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_never_loaded(tmp_path, data):
    compiler = Compiler(tmp_path)
    compiler.open()
    [file] = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    assert compiler.open() == "compiled"
    assert compiler.compiled == 2
    file.unlink()


def test_a_whole_file_that_the_engine_refuses_is_removed(tmp_path):
    compiler = Compiler(tmp_path)
    compiler.open()
    assert compiler.open(refused=True) is None
    assert list(tmp_path.iterdir()) == []


@posix
def test_the_folder_is_the_users_alone(tmp_path):
    Compiler(tmp_path / "x/y").open()
    assert stat.S_IMODE((tmp_path / "x/y").stat().st_mode) == 0o700


@posix
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    tmp_path.chmod(0o777)
    compiler = Compiler(tmp_path)
    assert compiler.open() is None
    assert (compiler.compiled, list(tmp_path.iterdir())) == (0, [])


@posix
def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert Compiler(tmp_path).open() is None


def test_a_place_that_cannot_be_a_folder_is_not_used(tmp_path):
    (tmp_path / "file").write_text("")
    assert Compiler(tmp_path / "file").open() is None


def test_a_full_disk_costs_the_next_start_and_not_this_one(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_bytes", full)
    assert Compiler(tmp_path).open() == "compiled"


def test_what_was_not_used_for_longest_makes_room(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 1000)
    names: list[str] = []
    for number in range(4):
        before = {path.name for path in tmp_path.iterdir()}
        compiler = Compiler(tmp_path, b"x" * 300)
        compiler.open((str(number),))
        [new] = {path.name for path in tmp_path.iterdir()} - before
        names.append(new)
        os.utime(tmp_path / new, (number + 1, number + 1))
        if number == 1:
            compiler.open(("0",))  # used again: 1 is now the oldest
            assert compiler.compiled == 1
    kept = {path.name for path in tmp_path.iterdir()}
    assert names[1] not in kept
    assert names[3] in kept


def test_the_newest_stays_even_where_it_is_too_large_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 10)
    compiler = Compiler(tmp_path, b"x" * 300)
    compiler.open()
    compiler.open()
    assert compiler.compiled == 1


@pytest.mark.parametrize(("system", "variable", "place"), [
    ("linux", "XDG_CACHE_HOME", "{base}/starcast/compiled"), ("win32", "LOCALAPPDATA", "{base}/starcast/compiled"),
    ("darwin", "HOME", "{base}/Library/Caches/starcast/compiled"), ("linux", "HOME", "{base}/.cache/starcast/compiled"),
])  # fmt: skip
def test_the_users_cache_lies_where_the_system_keeps_such_things(tmp_path, monkeypatch, system, variable, place):
    if variable == "HOME" and sys.platform == "win32":
        pytest.skip("Windows finds the home elsewhere")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.sys, "platform", system)
    monkeypatch.setenv(variable, str(tmp_path))
    assert cache.user_cache() == Path(place.format(base=tmp_path))


NONSENSE = {
    "empty": b"", "text": b"not a cache", "not UTF-8": b'{"question": ["\xff"]}', "a list": b"[1, 2]",
    "another type": b'{"question": 7}', "nested": b"[" * 100_000, "a bomb of digits": b'{"best": ' + b"9" * 5000 + b"}",
}  # fmt: skip


def _spoil(file: Path, harm: str) -> None:
    """Put something that cannot be read into the place of a file."""
    if file.exists():
        file.unlink()
    if harm == "a folder":
        (file / "sub").mkdir(parents=True)
    elif harm == "a pipe":
        os.mkfifo(file)
    elif harm == "a dangling link":
        file.symlink_to(file.with_name("missing"))
    else:
        file.write_bytes(NONSENSE[harm])


@posix
@pytest.mark.parametrize("harm", [*NONSENSE, "a folder", "a pipe", "a dangling link"])
def test_what_cannot_be_read_counts_as_absent_and_is_replaced(tmp_path, harm):
    compiler = Compiler(tmp_path / "compiled")
    compiler.open()
    [file] = (tmp_path / "compiled").iterdir()
    _spoil(file, harm)
    assert [compiler.open(), compiler.open()] == ["compiled", "compiled"]
    assert compiler.compiled == 2
    assert [path.name for path in (tmp_path / "compiled").iterdir()] == [file.name]


def test_a_cache_that_is_read_only_serves_all_the_same(tmp_path, monkeypatch):
    compiler = Compiler(tmp_path)
    compiler.open()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("utime", "mkdir", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    assert compiler.open() == "compiled"
    assert compiler.compiled == 1
