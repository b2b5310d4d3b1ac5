from __future__ import annotations

import importlib.metadata
import shlex
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import click
import pytest

from starcast import __version__, cli
from starcast.cli import EXTRAS, VERBS, main, root
from starcast.errors import CheckpointError, ImageError, MissingExtraError, OptionError

HEAVY = ("torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "openvino", "cv2", "av")
ROOMS = ("starcast.train", "starcast.export", "starcast.runtime", "starcast.benchmarks")


def _fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a fresh process, which then writes the modules it has loaded."""
    code = """
import sys
from starcast.cli import main
try:
    main(sys.argv[1:])
finally:
    print("modules:", *sys.modules, file=sys.stderr)
"""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def _loaded(result: subprocess.CompletedProcess[str]) -> set[str]:
    return set(result.stderr.rpartition("modules:")[2].split())


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_runs_says_what_the_table_says_and_loads_nothing_heavy(verb):
    result = _fresh(verb, "--help")
    assert result.returncode == 0, result.stderr
    said = " ".join(result.stdout.partition("\n\n")[2].split())
    assert said.startswith(VERBS[verb][1])
    assert not _loaded(result) & set(HEAVY)


def _commands(group: click.Group, names: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found += [(*names, name), *(_commands(command, (*names, name)) if isinstance(command, click.Group) else [])]
    return found


@pytest.mark.parametrize("names", _commands(root), ids=" ".join)
def test_every_option_of_every_command_has_a_help_text(names):
    context = click.Context(root)
    command: click.Command = root
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command = found
    assert command.help
    assert not [
        option.name
        for option in command.params
        if isinstance(option, click.Option) and not option.help and not option.hidden
    ]


def test_the_root_help_lists_the_verbs_in_order_and_imports_no_room():
    result = _fresh("--help")
    assert result.returncode == 0
    places = [result.stdout.index(f"  {verb} ") for verb in VERBS]
    assert places == sorted(places)
    loaded = _loaded(result)
    assert not [name for name in loaded if name.startswith(ROOMS)]
    assert not loaded & {*HEAVY, "numpy", "PIL", "msgspec"}


def test_the_version_is_the_packages():
    result = subprocess.run([sys.executable, "-m", "starcast", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["starcast,", "version", __version__]


def test_an_unknown_verb_is_wrong_use():
    result = _fresh("transmogrify")
    assert result.returncode == 2
    assert "No such command 'transmogrify'" in result.stderr
    assert "Traceback" not in result.stderr


def _command(action):
    @click.command("act")
    @click.option("--count", type=int, default=1)
    def act(count: int) -> object:
        """Act."""
        return action()

    return act


@pytest.fixture
def leave(monkeypatch, capsys):
    """A function (what the command does, *arguments) -> (exit status, stdout, stderr)."""

    def run(action, *arguments: str) -> tuple[object, str, str]:
        room = types.ModuleType("room_of_a_test")
        room.act = _command(action)
        monkeypatch.setitem(sys.modules, room.__name__, room)
        monkeypatch.setattr(cli, "VERBS", {"act": ("room_of_a_test:act", "Act.")})
        with pytest.raises(SystemExit) as leaving:
            main(["act", *arguments])
        return leaving.value.code, *capsys.readouterr()

    return run


def _raising(error: BaseException):
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (1, 1), (2, 2), ("text", 0)])
def test_a_command_that_returns_a_number_ends_with_it(leave, result, status):
    assert leave(lambda: result)[0] == status


@pytest.mark.parametrize(("error", "status", "words"), [
    (OptionError("--size is 3: give more"), 2, "Error: --size is 3: give more\n"),
    (CheckpointError("x.pt is cut short: copy it again"), 2, "Error: x.pt is cut short: copy it again\n"),
    (ImageError("x.png is damaged: leave it out"), 1, "Error: x.png is damaged: leave it out\n"),
    (FileNotFoundError(2, "No such file or directory", "x.png"), 1, "Error: x.png: no such file or directory\n"),
    (PermissionError(13, "Permission denied"), 1, "Error: a file: permission denied\n"),
    (PermissionError(13, "Permission denied", "x.png"), 1,
     "Error: x.png: permission denied: change its permissions, or choose another -o\n"),
    (OSError(28, "No space left on device", "x.png"), 1,
     "Error: x.png: no space left on device: free some disk space, or choose another -o\n"),
    (OSError(28, "No space left on device"), 1,
     "Error: the output cannot be written (no space left on device): free some disk space, or choose another -o\n"),
    (KeyboardInterrupt(), 130, "\nStopped.\n"),
    (click.Abort(), 130, "Stopped.\n"),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), 2,
     "Error: this command needs torch, which is not installed: pip install 'starcast[train,export]'\n"),
    (ModuleNotFoundError("No module named 'onnx.helper'", name="onnx.helper"), 2,
     "Error: this command needs onnx, which is not installed: pip install 'starcast[export]'\n"),
    (MissingExtraError("no engine is installed: pip install"), 2, "Error: no engine is installed: pip install\n"),
    (click.ClickException("the reason"), 2, "Error: the reason\n"),
], ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None)  # fmt: skip
def test_what_a_user_can_mend_is_one_sentence_and_an_exit_status(leave, error, status, words):
    assert leave(_raising(error)) == (status, "", words)


@pytest.mark.parametrize("arguments", [("--count", "many"), ("--colour", "blue"), ("more",)])
def test_wrong_use_ends_with_2_and_shows_the_usage(leave, arguments):
    status, _, told = leave(lambda: None, *arguments)
    assert status == 2
    assert "Usage: starcast act" in told
    assert "Error: " in told


@pytest.mark.parametrize("error", [
    TypeError("a mistake of ours"), ValueError("a mistake of ours"), OSError("without a number"),
    ModuleNotFoundError("No module named 'starcast.nonsense'", name="starcast.nonsense"),
], ids=lambda error: type(error).__name__)  # fmt: skip
def test_a_mistake_of_ours_keeps_its_traceback(leave, error):
    with pytest.raises(type(error)):
        leave(_raising(error))


TALKATIVE = """
import sys, types, click
from starcast import cli
room = types.ModuleType("room_of_a_test")
room.act = click.command("act")(lambda: [click.echo("x" * 2**10) for _ in range(2**10)])
sys.modules[room.__name__] = room
cli.VERBS["act"] = ("room_of_a_test:act", "Act.")
cli.main(["act"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close in another way")
def test_a_reader_that_leaves_ends_the_command_quietly():
    command = [sys.executable, "-c", TALKATIVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=10) == 141


WRITING = """
import pathlib, sys, time, types, click
from starcast import cli
from starcast.atomic import atomic_path
room = types.ModuleType("room_of_a_test")
def write():
    with atomic_path(pathlib.Path(sys.argv[1]) / "film.mp4") as partial:
        partial.write_text("half")
        click.echo("writing")
        time.sleep(60)
room.act = click.command("act")(write)
sys.modules[room.__name__] = room
cli.VERBS["act"] = ("room_of_a_test:act", "Act.")
cli.main(["act"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there, terminating a process asks it nothing")
def test_a_terminated_command_leaves_nothing_half_written(tmp_path):
    command = [sys.executable, "-c", WRITING, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "writing\n"
        process.terminate()
        assert process.stderr.read() == ""
        assert process.wait(timeout=10) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_every_signal_that_would_kill_ends_the_command_in_order(tmp_path, name):
    number = getattr(signal, name)
    command = [sys.executable, "-c", WRITING, tmp_path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # under nohup it would be ignored
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(number)
        process.send_signal(number)
        assert process.stderr.read() == ""
        assert process.wait(timeout=10) == 128 + number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
def test_a_signal_that_is_ignored_from_the_beginning_stays_ignored(tmp_path):
    command = [sys.executable, "-c", WRITING.replace("60", "0.3"), tmp_path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=10) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


class _Finalizer:
    """Gets a signal where Python cannot raise."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        signal.raise_signal(self._number)


@pytest.mark.skipif(sys.platform == "win32", reason="there, a signal ends the process")
@pytest.mark.parametrize(("number", "end"), [
    (signal.SIGTERM, (143, "", "")), (signal.SIGINT, (130, "", "\nStopped.\n")),
])  # fmt: skip
def test_a_signal_that_arrives_in_a_finalizer_ends_the_command_too(leave, number, end):
    def work() -> None:
        _Finalizer(number)
        time.sleep(10)

    start = time.monotonic()
    assert leave(work) == end
    assert time.monotonic() - start < 5


def _command_line(arguments: str, redirections: str) -> subprocess.CompletedProcess[str]:
    line = f"{shlex.quote(sys.executable)} -m starcast {arguments} {redirections}"
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix")
@pytest.mark.parametrize("arguments", ["--help", "--version", "translate --help", "engines list"])
def test_output_that_nobody_reads_or_that_cannot_be_written_is_no_traceback(arguments):
    result = _command_line(arguments, "| true")
    assert result.stderr == ""
    if Path("/dev/full").exists():
        result = _command_line(arguments, "> /dev/full")
        assert result.returncode == 1
        assert result.stderr == (
            "Error: standard output cannot be written (no space left on device): redirect it to another place\n"
        )
    assert _command_line(arguments, ">&- 2>&- <&-").returncode == 0


def test_a_lack_of_memory_is_a_sentence(leave):
    status, _, told = leave(_raising(MemoryError()))
    assert status == 1
    assert told.startswith("Error: there is not enough memory: ")


def test_every_extra_that_an_error_names_is_in_the_packages_metadata():
    offered = set(importlib.metadata.metadata("starcast").get_all("Provides-Extra") or [])
    assert {extra for extras in EXTRAS.values() for extra in extras.split(",")} <= offered


def test_a_name_that_the_console_cannot_show_is_no_traceback(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "starcast", "translate", tmp_path / "bündel-☃", "x.png", "-o", "out"],
        capture_output=True, env={"PYTHONIOENCODING": "ascii", "PATH": ""}, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert b"is not a bundle" in result.stderr
    assert b"Traceback" not in result.stderr
