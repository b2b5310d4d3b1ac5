"""A signal ends a command even where a library swallows the error that it raises."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from starcast.atomic import atomic_folder, atomic_path
from starcast.hold import hold, hold_folder
from starcast.leftovers import temporary_folder
from starcast.runtime.progress import ProgressBar
from starcast.signals import Stopped, raise_if_swallowed, stop_on_signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")


def count_after_a_swallowed_signal(counted: list[int]) -> None:
    with contextlib.suppress(BaseException):  # what OpenVINO's import does
        os.kill(os.getpid(), signal.SIGTERM)
    bar = ProgressBar(1000, "frames", show=False, progress=print)
    for number in range(1000):
        counted.append(number)
        bar.advance()


def test_a_swallowed_signal_stops_the_command_at_its_next_item():
    counted: list[int] = []
    with pytest.raises(Stopped) as raised, stop_on_signals():
        count_after_a_swallowed_signal(counted)
    assert counted == [0]
    assert raised.value.code == 128 + signal.SIGTERM
    raise_if_swallowed()  # the next command in this process is not stopped


@contextlib.contextmanager
def use(place: Path) -> Iterator[None]:
    """Everything that makes a hidden file or folder."""
    with (
        hold(place / "film.mp4"),
        hold_folder(place / "new/images"),
        atomic_path(place / "image.png"),
        atomic_folder(place / "bundle"),
        temporary_folder(),
    ):
        yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(
    "function", ["open", "mkdir", "unlink", "rmdir", "rename", "replace", "close", "stat", "lstat"]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_beside_any_call_of_the_system_leaves_nothing_behind(tmp_path, monkeypatch, number, function, when):
    real = getattr(os, function)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    countdown = 0

    def disturbed(*arguments, **settings):
        nonlocal countdown
        countdown -= 1
        if not countdown and when == "before":
            os.kill(os.getpid(), number)
        try:
            return real(*arguments, **settings)
        finally:
            if not countdown and when == "after":
                os.kill(os.getpid(), number)

    for call in range(1, 200):
        place = tmp_path / str(call)
        place.mkdir()
        countdown = call
        with monkeypatch.context() as patched:
            patched.setattr(os, function, disturbed)
            with contextlib.suppress(Stopped, KeyboardInterrupt), stop_on_signals(), use(place):
                pass
        assert not [*place.rglob(".*"), *temporary.iterdir()], f"call {call}"
        if countdown > 0:
            break
    assert countdown > 0
