"""Are a command's files intact on a small disk, with few file descriptors, and when it is killed at any moment?

    python -m starcast.benchmarks.studies.hardship WORK disk          disks up to 2 MiB, in steps of 3 KiB
    python -m starcast.benchmarks.studies.hardship WORK signals       SIGHUP, SIGTERM, SIGINT, SIGKILL, 200 times each
    python -m starcast.benchmarks.studies.hardship WORK descriptors   from 16 to 96 file descriptors
    python -m starcast.benchmarks.studies.hardship WORK shared        shared memory of 1 to 64 MiB, with workers
    python -m starcast.benchmarks.studies.hardship WORK unwritable    folders that nobody may write into, not even root

Each trial is a fork of this process, which has imported everything but computed nothing. After it, every file must be
whole and none left over; then the same command, started again with enough room, must complete the work. `disk` and
`shared` need root on Linux, to mount a tmpfs.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click

from starcast.atomic import write_text
from starcast.benchmarks.studies.hardship_material import (
    FRAMES,
    STANDARD_INPUT,
    STANDARD_OUTPUT,
    Material,
    prepare,
)
from starcast.click_options import options_from
from starcast.options import CheckedOptions, option

LONGEST_S = 60
_ROOM = "3g"  # a film on standard input leaves 1 GiB of the disk free
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS of sched.h
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class HardshipOptions(CheckedOptions):
    """What to try."""

    commands: tuple[str, ...] = option(
        ("translate", "video", "train", "labels", "generate"),
        "Commands to try, also videos, jobs, numbered, gif, webp, apng, keys, piped, to-pipe, morph. labels: translate "
        "with --set, on a StarGAN v1. generate: on a StyleGAN2.",
    )
    start: int = option(64, "Size of the first disk in KiB.", minimum=4)
    end: int = option(2048, "Size of the last disk in KiB, at most.", minimum=4)
    step: int = option(3, "Difference in size from one disk to the next, in KiB.", minimum=1)
    trials: int = option(200, "Number of trials for each signal and command.", minimum=1)
    seed: int = option(0, "Seed for the times at which signals are sent.", minimum=0)


@dataclass
class Trial:
    """One run of a command, and what went wrong."""

    command: str
    setting: str
    status: int | None
    seconds: float
    text: str  # what the first start printed
    faults: list[str] = field(default_factory=list)


def run(
    arguments: list[str], log: Path, *, descriptors: int | None = None, kill: tuple[int, float] | None = None
) -> tuple[int | None, float, str]:
    """Fork, run the command, and return its exit status (negative: killed; None: hung), seconds and output.

    `kill`: a signal, and the seconds after which to send it.
    """
    log.write_bytes(b"")  # a child that is killed at once does not empty it
    begin = time.monotonic()
    child = os.fork()
    if not child:
        _become(arguments, log, descriptors)
    status = None
    while time.monotonic() - begin < LONGEST_S:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
            break
        if kill is not None and time.monotonic() - begin >= kill[1]:
            os.kill(child, kill[0])
            if kill[0] == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError):  # it may not have a group of its own yet
                    os.killpg(child, kill[0])
            kill = None
        time.sleep(0.002)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return status, time.monotonic() - begin, log.read_text(errors="replace")


def _become(arguments: list[str], log: Path, descriptors: int | None) -> NoReturn:
    """In the child: run the command line and leave."""
    status = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        arguments = _with_pipes(arguments, log.parent)
        os.closerange(3, 64)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        if descriptors is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        from starcast.cli import main

        sys.argv = ["starcast", *arguments]
        main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001  a traceback is what the trial looks for
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(AttributeError):  # as the interpreter does before it ends: it has no public name
            threading._shutdown()  # type: ignore[attr-defined]
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _with_pipes(arguments: list[str], work: Path) -> list[str]:
    """The arguments, with `-` in place of names that stand for a pipe, which is opened."""
    plain = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            os.dup2(os.open(work / "clip.mkv", os.O_RDONLY), 0)
        elif Path(argument).name == STANDARD_OUTPUT:
            os.dup2(os.open(work / "stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 1)
            tempfile.tempdir = str(Path(argument).parent)  # where the film lies before it is written to the pipe
        else:
            plain.append(argument)
            continue
        plain.append("-")
    return plain


def damaged_files(folder: Path) -> Iterator[str]:
    """A line for each visible file below a folder that is not whole."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            _read_whole(path)
        except Exception as error:  # noqa: BLE001  each library has its own for a damaged file
            yield f"{path.relative_to(folder)} is not whole: {type(error).__name__} {error}"


def _read_whole(path: Path) -> None:
    if path.suffix in (".png", ".jpg"):
        from PIL import Image

        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".jsonl":
        for line in path.read_text().splitlines():
            json.loads(line)
    elif path.suffix == ".pt":
        import torch

        torch.load(path, map_location="cpu", weights_only=True)
    elif path.suffix == ".html":
        if not path.read_text().rstrip().endswith("</html>"):
            raise ValueError("its end is missing")
    elif path.suffix in (".mp4", ".gif", ".webp"):
        count = _count_frames(path)
        if count != FRAMES:
            raise ValueError(f"{count} frames of {FRAMES}")


def _count_frames(path: Path) -> int:
    import av
    from PIL import Image

    if path.suffix != ".mp4":
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


def leftovers(folder: Path) -> list[str]:
    """Hidden files and folders, which no finished command leaves."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.startswith("."))


def try_once(
    material: Material, command: str, out: Path, setting: str, allowed: set[int], *,
    room: Callable[[], None] = lambda: None, descriptors: int | None = None, kill: tuple[int, float] | None = None,
) -> Trial:  # fmt: skip
    """Run a command under a hardship, look at what it left, then start it again with `room`, and look again."""
    arguments = material.commands[command](out)
    log = material.work / f"log-{os.getpid()}.txt"
    status, seconds, text = run(arguments, log, descriptors=descriptors, kill=kill)
    trial = Trial(command, setting, status, seconds, text)
    if status is None:
        trial.faults.append(f"hung for {LONGEST_S} s")
    elif status not in allowed:
        trial.faults.append(f"exit status {status}")
    elif status < 0 and status != -signal.SIGKILL and (text or any(out.iterdir())):  # else it had hardly started
        trial.faults.append("the signal was not handled")
    if "Traceback" in text or "core dumped" in text:
        trial.faults.append("a traceback")
    killed = status == -signal.SIGKILL
    if status in (1, 2) and "Error: " not in text and "failed" not in text:
        trial.faults.append("no reason is given")
    trial.faults += damaged_files(out)
    if not killed and (left := leftovers(out)):
        trial.faults.append(f"left over: {', '.join(left[:4])}")
    room()
    trial.faults += [f"second start: {fault}" for fault in _second_start(arguments, log, out)]
    return trial


def _second_start(arguments: list[str], log: Path, out: Path) -> Iterator[str]:
    status, _, text = run(arguments, log)
    if status == 2 and arguments[0] == "train" and "--resume" in text:
        status, _, text = run([*arguments, "--resume"], log)
    elif status == 2 and arguments[0] == "video" and "already exists" in text:
        status = 0  # the first start had finished
    if status != 0 or "Traceback" in text:
        yield f"exit status {status}: {text.strip()[-300:]}"
    yield from damaged_files(out)
    if left := leftovers(out):
        yield f"left over: {', '.join(left[:4])}"


def sweep_disk(material: Material, options: HardshipOptions) -> Iterator[Trial]:
    """Every size of disk, for every command."""
    out = material.work / "disk"
    out.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(out)], check=True)

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(out)], check=True)

    try:
        for kib in range(options.start, options.end + 1, options.step):
            for command in options.commands:
                _clear(out)
                resize(f"{kib}k")
                yield try_once(material, command, out, f"{kib} KiB", {0, 1, 2}, room=lambda: resize(_ROOM))
    finally:
        subprocess.run(["umount", str(out)], check=False)


def sweep_signals(material: Material, options: HardshipOptions) -> Iterator[Trial]:
    """Signals at random moments, from the start of the command to a little after its usual end."""
    draws, out = random.Random(options.seed), material.work / f"signals-{options.seed}"
    for command in options.commands:
        _clear(out)
        _, usual, _ = run(material.commands[command](out), material.work / "log.txt")
        for number in range(options.trials):
            for kind in SIGNALS:
                _clear(out)
                moment = draws.uniform(0.05, 1.05) * usual
                allowed = {0, 128 + kind, -kind}
                setting = f"{kind.name} after {moment:.3f} s, number {number}"
                yield try_once(material, command, out, setting, allowed, kill=(kind, moment))


def sweep_descriptors(material: Material, options: HardshipOptions) -> Iterator[Trial]:
    """Few file descriptors: the command works, or says what is missing."""
    out = material.work / "descriptors"
    for limit in range(16, 97, 4):
        for command in options.commands:
            _clear(out)
            yield try_once(material, command, out, f"{limit} descriptors", {0, 1, 2}, descriptors=limit)


def sweep_shared(material: Material, options: HardshipOptions) -> Iterator[Trial]:
    """Little shared memory, as in a container: training's workers put their batches there."""
    out, place = material.work / "shared", Path("/dev/shm")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS):  # what is mounted now is seen by this process alone
        raise OSError(ctypes.get_errno(), "no mount namespace")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], check=True)
    train = material.commands["train"]
    crowded = Material(material.work, more={"train": lambda out: [*train(out), "--workers", "8"]})
    for mib in (1, 2, 4, 8, 16, 32, 64):
        for command in options.commands:
            _clear(out)
            subprocess.run(["mount", "-o", f"remount,size={mib}m", str(place)], check=True)
            yield try_once(crowded, command, out, f"{mib} MiB of shared memory", {0, 1, 2})


def sweep_unwritable(material: Material, options: HardshipOptions) -> Iterator[Trial]:
    """A disk that was mounted read-only."""
    out = material.work / "unwritable"
    out.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(out)], check=True)

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(out)], check=True)

    try:
        for command in options.commands:
            remount("rw")
            _clear(out)
            remount("ro")
            yield try_once(material, command, out, "read-only", {1, 2}, room=lambda: remount("rw"))
    finally:
        subprocess.run(["umount", str(out)], check=False)


def _clear(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


SWEEPS = {"disk": sweep_disk, "signals": sweep_signals, "descriptors": sweep_descriptors, "shared": sweep_shared,
          "unwritable": sweep_unwritable}  # fmt: skip


@click.command()
@click.argument("work", type=click.Path(file_okay=False, resolve_path=True, path_type=Path))
@click.argument("sweep", type=click.Choice(list(SWEEPS)))
@options_from(HardshipOptions)
def hardship(work: Path, sweep: str, **values: Any) -> int:
    """Try commands under a hardship. What goes wrong is printed, and written to WORK/SWEEP.json."""
    options = HardshipOptions(**values)
    os.environ.update(OMP_NUM_THREADS="1", XDG_CACHE_HOME=str(work / "cache"))
    material = prepare(work)
    _import_everything()
    statuses: Counter[str] = Counter()
    wrong: list[Trial] = []
    for trial in SWEEPS[sweep](material, options):
        statuses[f"{trial.command}: {trial.status}"] += 1
        if trial.faults:
            wrong.append(trial)
            click.echo(
                f"{trial.command}, {trial.setting}: {'; '.join(trial.faults)}\n    {trial.text.strip()[-400:]!r}"
            )
    record = {"statuses": dict(sorted(statuses.items())), "wrong": [asdict(trial) for trial in wrong]}
    write_text(work / f"{sweep}.json", json.dumps(record, indent=1) + "\n")
    click.echo(f"{statuses.total()} trials, {len(wrong)} of them failed: {record['statuses']}")
    return int(bool(wrong))


def _import_everything() -> None:
    """Import what the commands import. Nothing may be computed, because threads do not survive a fork."""
    import av
    import torch
    import torchvision

    import starcast.export.cli
    import starcast.runtime.cli
    import starcast.runtime.folder.translate
    import starcast.runtime.video.cli
    import starcast.runtime.video.many.jobs
    import starcast.runtime.video.morph
    import starcast.runtime.video.output.outputs
    import starcast.runtime.video.standard_input
    import starcast.runtime.video.translate
    import starcast.train.cli
    import starcast.train.run
    from starcast.runtime.engines.onnxruntime import engine

    assert all((av, engine(), torch, torchvision, starcast))


if __name__ == "__main__":
    sys.exit(hardship(standalone_mode=False))
