from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from starcast import atomic
from starcast.atomic import atomic_folder, atomic_path, repair_folder, write_bytes, write_text
from starcast.leftovers import PARTIAL

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")


class Stopped(Exception):  # noqa: N818
    """What stops a write in these tests."""


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_is_there_with_its_content_and_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a/b/x.txt", "häuser\n")
    assert (tmp_path / "a/b/x.txt").read_bytes() == "häuser\n".encode()
    assert _names(tmp_path / "a/b") == ["x.txt"]


def test_the_partial_file_has_the_suffix_of_the_target(tmp_path):
    with atomic_path(tmp_path / "x.png") as partial:
        assert (partial.parent, partial.suffix) == (tmp_path, ".png")
        assert partial.name.startswith(".")


@pytest.mark.parametrize(("windows", "refusals", "written"), [
    (True, 3, True), (True, atomic.TRIES, False), (False, 1, False),
])  # fmt: skip
def test_a_target_that_windows_lets_nobody_replace_while_it_is_read_is_tried_again(
    tmp_path, monkeypatch, windows, refusals, written
):
    left, real = [PermissionError(13, "Access is denied")] * refusals, Path.replace

    def replace(self, target):
        if left:
            raise left.pop()
        real(self, target)

    monkeypatch.setattr(atomic, "WINDOWS", windows)
    monkeypatch.setattr(atomic, "PAUSE_S", 0)
    monkeypatch.setattr(Path, "replace", replace)
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")
    if written:
        write_bytes(target, b"new")
    else:
        with pytest.raises(PermissionError):
            write_bytes(target, b"new")
    assert target.read_bytes() == (b"new" if written else b"old")
    assert _names(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_stopped_write_leaves_the_old_file_or_none(tmp_path, old, error):
    target = tmp_path / "x.bin"
    if old is not None:
        target.write_bytes(old)

    def stopped() -> None:
        with atomic_path(target) as partial:
            partial.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        stopped()
    assert _names(tmp_path) == ([] if old is None else ["x.bin"])
    assert old is None or target.read_bytes() == old


def test_a_file_that_was_never_written_is_an_error_and_leaves_the_old_one(tmp_path):
    (tmp_path / "x").write_bytes(b"old")

    def removed() -> None:
        with atomic_path(tmp_path / "x") as partial:
            partial.unlink()

    with pytest.raises(OSError, match="No such file"):
        removed()
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_folder_in_the_place_of_the_target_is_an_error_and_stays(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError):
        write_bytes(tmp_path / "x", b"new")
    assert _names(tmp_path) == ["x"]


@posix
def test_rights_are_those_of_the_old_file_or_of_any_new_one(tmp_path):
    (tmp_path / "private").write_bytes(b"old")
    (tmp_path / "private").chmod(0o600)
    write_bytes(tmp_path / "private", b"new")
    write_bytes(tmp_path / "new", b"new")
    (tmp_path / "usual").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    write_bytes(tmp_path / ("x" * 250 + ".png"), b"new")
    assert len(_names(tmp_path)) == 1


def _fill(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def test_a_folder_takes_the_place_of_the_old_one_as_a_whole(tmp_path):
    target = tmp_path / "bundle"
    for files in ({"a": "1", "b": "1"}, {"b": "2", "c": "2"}):
        with atomic_folder(target) as partial:
            _fill(partial, **files)
        assert {path.name: path.read_text() for path in target.iterdir()} == files
        assert _names(tmp_path) == ["bundle"]


def test_a_stopped_folder_leaves_the_old_one(tmp_path):
    target = tmp_path / "bundle"
    with atomic_folder(target) as partial:
        _fill(partial, a="old")

    def stopped() -> None:
        with atomic_folder(target) as partial:
            _fill(partial, a="new")
            raise Stopped

    with pytest.raises(Stopped):
        stopped()
    assert (target / "a").read_text() == "old"
    assert _names(tmp_path) == ["bundle"]


def test_a_folder_that_cannot_be_renamed_in_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "bundle"
    target.mkdir()
    _fill(target, a="old")
    rename = Path.rename

    def refuse(self: Path, to: Path) -> Path:
        if self.name.startswith(PARTIAL):
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse)

    def written() -> None:
        with atomic_folder(target) as partial:
            _fill(partial, a="new")

    with pytest.raises(OSError, match="No space left"):
        written()
    assert (target / "a").read_text() == "old"
    assert _names(tmp_path) == ["bundle"]


@posix
def test_a_new_folder_can_be_read_like_any_other(tmp_path):
    with atomic_folder(tmp_path / "bundle"):
        pass
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "bundle").stat().st_mode == (tmp_path / "usual").stat().st_mode


TAG, OLD = "0a1b2c3d", "earlier version's"


def _leave(folder: Path, *, target: bool, aside: str, partial: bool) -> None:
    """What a kill left: the target "bundle" (a=new), the old folder aside (a=old), the unfinished new one."""
    there = {"bundle": ("new", target), aside: ("old", True), f".starcast-partial-{TAG}-bundle": ("half", partial)}
    for name, (text, wanted) in there.items():
        if wanted:
            (folder / name).mkdir()
            _fill(folder / name, a=text)


@pytest.mark.parametrize("aside", [f".starcast-replaced.{TAG}.bundle", ".replaced-bundle"], ids=["ours", OLD])
def test_an_old_folder_is_put_back_after_a_kill_between_the_renames(tmp_path, aside):
    _leave(tmp_path, target=False, aside=aside, partial=True)
    assert repair_folder(tmp_path / "bundle")
    assert (tmp_path / "bundle/a").read_text() == "old"
    assert _names(tmp_path) == ["bundle"]
    assert not repair_folder(tmp_path / "bundle")


def test_an_old_folder_does_not_come_back_when_the_new_one_was_moved_away(tmp_path):
    aside = f".starcast-replaced.{TAG}.bundle"
    _leave(tmp_path, target=False, aside=aside, partial=False)
    assert not repair_folder(tmp_path / "bundle")
    assert _names(tmp_path) == [aside]
    with atomic_folder(tmp_path / "bundle") as partial:
        _fill(partial, a="newer")
    assert (tmp_path / "bundle/a").read_text() == "newer"
    assert _names(tmp_path) == ["bundle"]


def test_the_old_folder_of_another_target_stays(tmp_path):
    _leave(tmp_path, target=False, aside=f".starcast-replaced.{TAG}.my.bundle", partial=True)
    assert not repair_folder(tmp_path / "bundle")
    atomic.sweep(tmp_path)
    assert _names(tmp_path) == [f".starcast-partial-{TAG}-bundle", f".starcast-replaced.{TAG}.my.bundle"]


def test_a_link_to_a_folder_is_followed_when_it_is_repaired_and_replaced(tmp_path):
    _leave(tmp_path, target=False, aside=f".starcast-replaced.{TAG}.bundle", partial=True)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere/link"
    link.symlink_to(tmp_path / "bundle")
    assert repair_folder(link)
    assert (link / "a").read_text() == "old"
    with atomic_folder(link) as partial:
        _fill(partial, a="newer")
    assert (tmp_path / "bundle/a").read_text() == "newer"
    assert link.is_symlink()


def test_an_old_folder_left_aside_is_put_back(tmp_path):
    """As earlier versions left it."""
    (tmp_path / ".replaced-bundle").mkdir()
    _fill(tmp_path / ".replaced-bundle", a="old")
    assert repair_folder(tmp_path / "bundle")
    assert (tmp_path / "bundle/a").read_text() == "old"
    assert not repair_folder(tmp_path / "bundle")


def test_an_old_folder_left_aside_after_the_new_one_came_is_deleted(tmp_path):
    for name in (".replaced-bundle", "bundle"):
        (tmp_path / name).mkdir()
    _fill(tmp_path / "bundle", a="new")
    assert not repair_folder(tmp_path / "bundle")
    assert _names(tmp_path) == ["bundle"]
    assert (tmp_path / "bundle/a").read_text() == "new"


def test_a_folder_named_by_a_dot_is_repaired_by_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "bundle").mkdir()
    (tmp_path / ".replaced-bundle").mkdir()
    monkeypatch.chdir(tmp_path / "bundle")
    assert not repair_folder(Path())
    assert _names(tmp_path) == ["bundle"]
    assert not repair_folder(Path("/"))


def test_a_reader_beside_a_living_writer_waits_for_its_second_rename(tmp_path, monkeypatch):
    target, rename = tmp_path / "bundle", Path.rename
    target.mkdir()
    _fill(target, a="old")
    between, go_on = threading.Event(), threading.Event()

    def slow(self: Path, to: Path) -> Path:
        if self.name.startswith(PARTIAL) and to == target:
            between.set()
            go_on.wait(10)
        return rename(self, to)

    def write() -> None:
        with atomic_folder(target) as partial:
            _fill(partial, a="new")

    monkeypatch.setattr(Path, "rename", slow)
    writer = threading.Thread(target=write)
    writer.start()
    between.wait(10)
    threading.Timer(0.2, go_on.set).start()
    assert not repair_folder(target)
    assert (target / "a").read_text() == "new"
    writer.join()
    assert _names(tmp_path) == ["bundle"]


def test_files_are_on_the_disk_before_their_folder_is_renamed_and_the_rename_after_that(tmp_path, monkeypatch):
    """The order that a power cut needs: files, folders from the innermost, rename, the folder around them."""
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def logged_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append(path.name if not path.name.startswith(PARTIAL) else "the folder")
        fsync(descriptor)

    def logged_rename(self: Path, to: Path) -> Path:
        events.append("rename")
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "rename", logged_rename)
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to know what is flushed")
    with atomic_folder(tmp_path / "bundle") as partial:
        (partial / "sub").mkdir()
        _fill(partial, a="1")
        _fill(partial / "sub", b="2")
    assert sorted(events[:2]) == ["a", "b"]
    assert events[2:] == ["sub", "the folder", "rename", tmp_path.name]


def _refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    def refusal(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((Path, "chmod") if name == "chmod" else (os, name)), refusal)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("name", ["chmod", "fsync"])
def test_a_file_system_that_refuses_modes_or_flushing_does_not_cost_a_finished_file(
    tmp_path, monkeypatch, name, number
):
    _refuse(monkeypatch, name, number)
    write_bytes(tmp_path / "film.mp4", b"film")
    with atomic_folder(tmp_path / "bundle") as partial:
        _fill(partial, a="1")
    assert (tmp_path / "film.mp4").read_bytes() == b"film"
    assert (tmp_path / "bundle/a").read_text() == "1"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_while_flushing_is_an_error_that_names_the_target(tmp_path, monkeypatch, number):
    (tmp_path / "film.mp4").write_bytes(b"old")
    _refuse(monkeypatch, "fsync", number)
    with pytest.raises(OSError) as caught:
        write_bytes(tmp_path / "film.mp4", b"new")
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "film.mp4"))
    with pytest.raises(OSError) as caught, atomic_folder(tmp_path / "bundle") as partial:
        _fill(partial, a="1")
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "bundle/a"))
    assert _names(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("name", [None, "partial"])
def test_an_error_while_writing_names_the_target_and_not_the_partial_file(tmp_path, name):
    def full() -> None:
        with atomic_path(tmp_path / "film.mp4") as partial:
            raise OSError(errno.ENOSPC, "No space left on device", *([str(partial)] if name else []))

    with pytest.raises(OSError) as caught:
        full()
    assert caught.value.filename == str(tmp_path / "film.mp4")


def test_an_error_of_reading_keeps_its_own_name(tmp_path):
    with pytest.raises(OSError, match="source.mp4"), atomic_path(tmp_path / "film.mp4"):
        (tmp_path / "source.mp4").read_bytes()


def test_a_name_that_is_too_long_is_an_error_before_the_work(tmp_path):
    with pytest.raises(OSError, match="too long"), atomic_path(tmp_path / ("x" * 300)):
        pytest.fail("the work has started")


@posix
def test_what_is_no_file_is_refused_before_the_work_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"), atomic_path(tmp_path / "pipe"):
        pytest.fail("the work has started")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "film.mp4").symlink_to(tmp_path / "disk/film.mp4")
    write_bytes(tmp_path / "film.mp4", b"new")
    assert (tmp_path / "disk/film.mp4").read_bytes() == b"new"
    assert (tmp_path / "film.mp4").is_symlink()


KILLED = """
import sys, time
from pathlib import Path
from starcast import atomic
from starcast.atomic import atomic_folder, write_bytes
target = Path(sys.argv[1])
if sys.argv[2] == "file":
    with atomic.atomic_path(target) as partial:
        partial.write_bytes(b"half")
        print("ready", flush=True)
        time.sleep(60)
rename = Path.rename
def slow(self, to):
    if self.name.startswith(atomic.PARTIAL):
        print("ready", flush=True)
        time.sleep(60)
    return rename(self, to)
Path.rename = slow
with atomic_folder(target) as partial:
    (partial / "a").write_text("new")
"""


@pytest.mark.parametrize("kind", ["file", "folder between its two renames"])
def test_a_killed_process_leaves_the_old_one(tmp_path, kind):
    target = tmp_path / "x"
    if kind == "file":
        target.write_text("old")
    else:
        target.mkdir()
        _fill(target, a="old")
    command = [sys.executable, "-c", KILLED, target, kind.split()[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        process.wait(timeout=10)
    repair_folder(target)
    assert (target if kind == "file" else target / "a").read_text() == "old"
