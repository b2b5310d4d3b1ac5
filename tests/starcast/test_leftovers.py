from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from starcast import leftovers, locks
from starcast.atomic import atomic_folder, atomic_path, write_bytes
from starcast.leftovers import own_temporary_files, sweep, temporary_folder

DEAD = [
    ".starcast-partial-a1b2c3d4-x.png", ".starcast-partial-________-a name", ".starcast-lock", ".starcast-lock-x.mp4"
]  # fmt: skip
STRANGERS = [
    ".starcast-partial-notes.txt", ".starcast-partial-ABCDEFGH-x", "starcast-partial-a1b2c3d4-x", ".starcast-locked",
    ".partial-download-film.mp4", ".lock", "x.png",
]  # fmt: skip

WRITER = """
import sys, time
from pathlib import Path
from starcast.atomic import atomic_folder, atomic_path
with atomic_path(Path("x.png")) as file, atomic_folder(Path("bundle")) as folder:
    file.write_bytes(b"half")
    (folder / "a").write_bytes(b"half")
    print(file.name, folder.name, flush=True)
    time.sleep(60)
"""


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_dead_processes_left_is_swept_and_files_of_others_stay(tmp_path):
    for name in (*DEAD, *STRANGERS):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".starcast-partial-00000000-bundle").mkdir()
    (tmp_path / ".starcast-partial-00000000-bundle/a").write_bytes(b"x")
    (tmp_path / ".starcast-partial-11111111-link").symlink_to(tmp_path / "x.png")
    sweep(tmp_path)
    assert _names(tmp_path) == {*STRANGERS, ".starcast-partial-11111111-link"}


def test_what_a_living_process_writes_stays_and_is_swept_when_it_was_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        names = set(process.stdout.readline().split())
        sweep(tmp_path)
        assert names <= _names(tmp_path)
        process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        process.wait(timeout=10)
    sweep(tmp_path)
    assert _names(tmp_path) == set()


def test_what_this_process_writes_in_another_thread_stays(tmp_path):
    with atomic_path(tmp_path / "x.png") as file, atomic_folder(tmp_path / "bundle") as folder:
        sweep(tmp_path)
        assert file.exists()
        assert folder.exists()


def test_the_first_write_into_a_folder_sweeps_it(tmp_path):
    (tmp_path / DEAD[0]).write_bytes(b"x")
    write_bytes(tmp_path / "x.png", b"x")
    assert _names(tmp_path) == {"x.png"}


def test_without_locks_nothing_is_swept_and_everything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "try_lock", lambda _: locks.Lock.UNKNOWN)
    (tmp_path / DEAD[0]).write_bytes(b"x")
    write_bytes(tmp_path / "x.png", b"x")
    with atomic_folder(tmp_path / "bundle") as folder:
        (folder / "a").write_bytes(b"x")
    assert _names(tmp_path) == {DEAD[0], "x.png", "bundle"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_neither_keeps_what_is_written_alive_nor_removes_it(tmp_path):
    """A child that leaves the block, as an unwinding worker does, must not delete what its parent goes on writing."""
    reader, writer = os.pipe()
    ready, started = os.pipe()
    with atomic_path(tmp_path / "x.png") as partial:
        partial.write_bytes(b"whole")
        if not (child := os.fork()):
            try:
                with atomic_folder(tmp_path / "never"):
                    pass
                os.write(started, b"x")
                os.read(reader, 1)
            finally:
                os._exit(0)
        os.read(ready, 1)
        descriptor = locks.open_for_lock(partial)
        assert locks.try_lock(descriptor) is locks.Lock.REFUSED
        locks.close(descriptor)
    assert (tmp_path / "x.png").read_bytes() == b"whole"
    descriptor = locks.open_for_lock(tmp_path / "x.png")
    assert locks.try_lock(descriptor) is locks.Lock.TAKEN  # while the child lives
    locks.close(descriptor)
    os.write(writer, b"x")
    os.waitpid(child, 0)
    for end in (reader, writer, ready, started):
        os.close(end)


def test_temporary_files_are_removed_and_those_of_the_dead_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(leftovers, "_swept", set())
    (tmp_path / ".starcast-partial-a1b2c3d4-t").mkdir()
    with own_temporary_files():
        Path(tempfile.mkdtemp()).joinpath("x").write_bytes(b"x")
        with temporary_folder() as folder:
            assert folder.is_relative_to(tmp_path)
            assert len(_names(tmp_path)) == 1
    assert _names(tmp_path) == set()
    assert tempfile.tempdir == str(tmp_path)


def test_without_a_temporary_folder_the_work_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with own_temporary_files():
        pass


def test_on_windows_an_open_file_shows_that_a_folder_is_being_written(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "WINDOWS", True)
    partial = leftovers.new_partial_folder(tmp_path / "bundle")
    assert _names(partial.path) == {leftovers.LOCK}  # Windows renames no folder with an open file in it
    partial.let_go()
    assert _names(partial.path) == set()
    sweep(tmp_path)
    assert _names(tmp_path) == set()


@pytest.mark.parametrize("make", [leftovers.new_partial_file, leftovers.new_partial_folder])
def test_a_signal_while_a_partial_is_being_made_leaves_none(tmp_path, monkeypatch, make):
    def stop(*_):
        raise SystemExit(143)

    monkeypatch.setattr(leftovers, "_is_ours", stop)
    with pytest.raises(SystemExit):
        make(tmp_path / "a.png")
    assert _names(tmp_path) == set()
