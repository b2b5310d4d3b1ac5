from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from starcast import hold as held
from starcast import locks
from starcast.errors import OptionError
from starcast.hold import hold, hold_folder

HOLDER = """
import sys, time
from pathlib import Path
from starcast import hold
with getattr(hold, sys.argv[1])(Path(sys.argv[2])):
    print("ready", flush=True)
    time.sleep(60)
"""


@contextmanager
def _holder(kind: str, place: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a place until the block ends."""
    command = [sys.executable, "-c", HOLDER, kind, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
            process.wait(timeout=10)


@pytest.mark.parametrize("kind", ["hold", "hold_folder"])
def test_a_second_process_is_refused_in_a_sentence_until_the_first_dies(tmp_path, kind):
    place = tmp_path / "new/out"
    with (
        _holder(kind, place) as process,
        pytest.raises(OptionError, match=f"out is being written by another starcast \\(process {process.pid}\\): wait"),
        getattr(held, kind)(place),
    ):
        pytest.fail("two hold the same place")
    with getattr(held, kind)(place) as locked:
        assert locked
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("kind", ["hold", "hold_folder"])
def test_nothing_is_left_behind(tmp_path, kind):
    with getattr(held, kind)(tmp_path / "a/b/out"):
        assert any(tmp_path.rglob(".starcast-lock*"))
    assert not list(tmp_path.rglob("*"))
    (tmp_path / "out").mkdir()
    with getattr(held, kind)(tmp_path / "out"):
        (tmp_path / "out/x.png").write_bytes(b"x")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.png"]
    assert not list(tmp_path.rglob(".*"))


def test_a_link_leads_to_the_same_place(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for kind in (hold, hold_folder):
        with kind(tmp_path / "out"), _in_thread(kind, tmp_path / "link") as error:
            assert isinstance(error, OptionError)


@contextmanager
def _in_thread(kind: object, place: Path) -> Iterator[BaseException | None]:
    """What another thread of this process gets when it tries to hold a place."""
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            with kind(place):  # type: ignore[operator]
                pass
        except OptionError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    yield caught[0] if caught else None


def test_a_second_thread_is_refused_and_the_same_one_may_hold_again(tmp_path):
    with hold(tmp_path / "x"), hold(tmp_path / "x"):
        with _in_thread(hold, tmp_path / "x") as error:
            assert isinstance(error, OptionError)
        with _in_thread(hold, tmp_path / "y") as error:
            assert error is None
    with _in_thread(hold, tmp_path / "x") as error:
        assert error is None


def test_a_name_as_long_as_the_system_allows_can_be_held(tmp_path):
    with hold(tmp_path / ("x" * 250)) as locked:
        assert locked


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_neither_keeps_the_hold_nor_ends_it(tmp_path):
    reader, writer = os.pipe()
    with hold(tmp_path / "x"):
        if not (child := os.fork()):
            os.read(reader, 1)
            os._exit(0)
        with _in_thread(hold, tmp_path / "x") as error:
            assert isinstance(error, OptionError)
    with hold(tmp_path / "x") as locked:  # while the child lives
        assert locked
    os.write(writer, b"x")
    os.waitpid(child, 0)

    block = hold(tmp_path / "x")
    with block:
        if not (child := os.fork()):
            block.__exit__(None, None, None)  # as an unwinding child would
            os._exit(0)
        os.waitpid(child, 0)
        with _in_thread(hold, tmp_path / "x") as error:
            assert isinstance(error, OptionError)


@pytest.mark.parametrize("fault", [PermissionError(13, "denied"), OSError(30, "read-only"), OSError(28, "full")])
def test_a_place_where_no_lock_can_be_made_does_not_stop_the_work(tmp_path, monkeypatch, fault):
    def refuse(*_: object, **__: object) -> int:
        raise fault

    monkeypatch.setattr(locks, "open_for_lock", refuse)
    with hold(tmp_path / "x") as locked, hold_folder(tmp_path / "y") as other:
        assert (locked, other) == (False, False)


def test_a_file_system_without_locks_does_not_stop_the_work_and_keeps_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "try_lock", lambda _: locks.Lock.UNKNOWN)
    with hold(tmp_path / "x") as locked:
        assert not locked
    assert list(tmp_path.iterdir()) == []


def test_many_threads_that_take_turns_never_hold_a_place_at_once(tmp_path):
    inside, most, times = [0], [0], [0]

    def work() -> None:
        for _ in range(50):
            try:
                with hold(tmp_path / "x") as locked:
                    assert locked
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    times[0] += 1
                    inside[0] -= 1
            except OptionError:
                pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert times[0] > 50
    assert list(tmp_path.iterdir()) == []
