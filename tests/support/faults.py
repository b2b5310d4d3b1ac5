"""A disk that fails at a chosen moment: a command is killed, gets a signal, ENOSPC or EIO, before or after any of its
calls.

    with FaultServer("starcast.train.creatures.dataset") as server:
        points = server.run(arguments, below=folder).points              # a run that lists the calls
        for fault in faults_of(points):
            server.run(arguments, below=folder, fault=fault)

A call counts if its path lies below a folder: rename, replace, unlink, rmdir, mkdir, fsync, opening to write, and every
write of a Python file. What C code writes is covered by the calls around it. Each run is a fork of a process that has
imported what the command needs, which takes milliseconds instead of seconds, and that has computed nothing, because
OpenMP's threads do not survive a fork.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KINDS = ("kill", "ENOSPC", "EIO")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
WHEN = ("before", "after")
PATIENCE_S = 120


@dataclass(frozen=True)
class Point:
    """The n-th call of a run."""

    number: int
    call: str
    path: str


@dataclass(frozen=True)
class Fault:
    """What happens at which call."""

    number: int
    kind: str
    when: str


@dataclass(frozen=True)
class Outcome:
    """A run's exit status (negative: the signal that ended it), what it printed, and its calls."""

    status: int
    output: str
    points: list[Point]


def faults_of(
    points: Sequence[Point], most: int | None = None, seed: int = 0, kinds: Sequence[str] = KINDS
) -> Iterator[Fault]:
    """Every one of `kinds` before and after every call; with `most`, all at renames, and a draw of the others.

    With STARCAST_EVERY_FAULT=1 in the environment, `most` counts for nothing.
    """
    faults = [Fault(point.number, kind, when) for point in points for kind in kinds for when in WHEN]
    if most is None or os.environ.get("STARCAST_EVERY_FAULT") == "1" or len(faults) <= most:
        yield from faults
        return
    moves = {point.number for point in points if point.call in ("rename", "replace")}
    drawn = random.Random(seed).sample(range(len(faults)), len(faults))
    wanted = sorted(drawn, key=lambda place: faults[place].number not in moves or faults[place].kind != "kill")
    yield from (faults[place] for place in sorted(wanted[:most]))


class FaultServer:
    """A process that has imported modules, and forks a child for every run."""

    def __init__(self, *modules: str, prepare: str = "") -> None:
        """`prepare` is Python code that the process runs after the imports: it may replace what takes long."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, prepare, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def run(self, arguments: Iterable[object], *, below: Path | None = None, fault: Fault | None = None) -> Outcome:
        """Run `starcast ARGUMENTS` in a fork; with a fault, if one of its calls below a folder is due."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"arguments": [str(one) for one in arguments], "below": None if below is None else str(below.resolve()),
                 "fault": None if fault is None else asdict(fault)}  # fmt: skip
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Outcome(answer["status"], answer["output"], [Point(*point) for point in answer["points"]])


class Disk:
    """Wraps the calls of this process, counts those below a folder, and fails at one of them."""

    def __init__(self, below: str, fault: dict[str, Any] | None, log: int) -> None:
        self.below, self.fault, self.log, self.count = below, fault, log, 0
        self._busy = False

    def install(self) -> None:
        for name in ("rename", "replace"):
            setattr(os, name, self._two(name, getattr(os, name)))
        for name in ("unlink", "remove", "rmdir", "mkdir"):
            setattr(os, name, self._one(name, getattr(os, name)))
        os.fsync = self._fsync(os.fsync)
        os.open = self._open(os.open)
        opened = self._file(io.open)
        builtins.open = opened
        io.open = opened

    def call(self, name: str, path: str, act: Callable[[], Any]) -> Any:
        if not path.startswith(self.below):
            return act()
        number, self.count = self.count, self.count + 1
        os.write(self.log, json.dumps([number, name, path[len(self.below) :]]).encode() + b"\n")
        due = self.fault is not None and self.fault["number"] == number
        if due and self.fault is not None and self.fault["when"] == "before":
            self._fail(name, path)
        result = act()
        if due:
            self._fail(name, path)
        return result

    def _fail(self, name: str, path: str) -> None:
        assert self.fault is not None
        if self.fault["kind"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        if self.fault["kind"] in SIGNALS:
            os.kill(os.getpid(), getattr(signal, self.fault["kind"]))
            return
        number = getattr(errno, self.fault["kind"])
        raise OSError(number, os.strerror(number), *([] if name in ("fsync", "write") else [path]))

    def _two(self, name: str, real: Any) -> Any:
        return lambda source, target, **more: self.call(
            name, _path(source, more.get("src_dir_fd")), lambda: real(source, target, **more)
        )

    def _one(self, name: str, real: Any) -> Any:
        def wrapped(path: Any, *rest: Any, **more: Any) -> Any:
            return self.call(name, _path(path, more.get("dir_fd")), lambda: real(path, *rest, **more))

        return wrapped

    def _fsync(self, real: Any) -> Any:
        return lambda descriptor: self.call("fsync", _path_of(descriptor), lambda: real(descriptor))

    def _open(self, real: Any) -> Any:
        def wrapped(path: Any, flags: int, *rest: Any, **more: Any) -> Any:
            if not flags & (os.O_WRONLY | os.O_RDWR):
                return real(path, flags, *rest, **more)
            return self.call("open", _path(path, more.get("dir_fd")), lambda: real(path, flags, *rest, **more))

        return wrapped

    def _file(self, real: Any) -> Any:
        disk = self

        class Raw(io.FileIO):
            def write(self, content: Any) -> Any:
                return disk.call("write", _path_of(self.fileno()), lambda: super(Raw, self).write(content))

        def wrapped(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
            path = _path_of(file) if isinstance(file, int) else _path(file, None)
            if not set(mode) & set("wax+") or more.get("opener") or not path.startswith(disk.below):
                return real(file, mode, buffering, *rest, **more)
            raw = disk.call("open", path, lambda: Raw(file, mode.replace("b", "").replace("t", "")))
            if buffering == 0:
                return raw
            binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary, *rest, **more)

        return wrapped


def _path(path: Any, folder: int | None) -> str:
    name = os.fsdecode(path)
    return os.path.join(_path_of(folder) if folder is not None else os.getcwd(), name)  # noqa: PTH109, PTH118


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115


def _serve(prepare: str, *modules: str) -> None:
    import importlib

    for module in ("starcast.cli", *modules):
        importlib.import_module(module)
    exec(prepare, {})
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)  # noqa: T201


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as log:
        child = os.fork()
        if not child:
            _run(order, printed.fileno(), log.fileno())
        end = time.monotonic() + PATIENCE_S
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        status = os.waitstatus_to_exitcode(ended[1])
        printed.seek(0)
        log.seek(0)
        points = [json.loads(line) for line in log.read().splitlines()]
        return {"status": status, "output": printed.read().decode(errors="replace"), "points": points}


def _run(order: dict[str, Any], printed: int, log: int) -> None:
    status = 99
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, or under nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        if order["below"] is not None:
            Disk(order["below"], order["fault"], log).install()
        from starcast.cli import main

        main(order["arguments"])
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 98
    except BaseException:  # noqa: BLE001
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
