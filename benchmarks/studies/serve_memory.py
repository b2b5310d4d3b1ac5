"""Does the memory of `starcast serve` stay flat while eight pages are open?

    python -m starcast.benchmarks.studies.serve_memory my-model -o benchmarks/results/serve-memory.json

Seven viewers send a frame, and the next as soon as it has come back, as the page does. The eighth takes one frame per
second. The styles change all the time. The server's memory is read every ten seconds; after the first two minutes it
may grow by 5 % at most. Every frame of the seven must be answered.
"""

from __future__ import annotations

import json
import re
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import cv2
import numpy as np

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import options_from
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import open_bundle
from starcast.runtime.cores import allowed_threads

PROGRAM = "python -m starcast.benchmarks.studies.serve_memory"
VIEWERS = 7
WARM_S, EVERY_S = 120, 10


@dataclass(frozen=True, kw_only=True)
class MemoryOptions(CheckedOptions):
    """How long, and where the results go."""

    minutes: int = option(20, "How long the pages are open.", minimum=4)
    backend: str = flags.backend("onnxruntime", "The engine.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


@dataclass
class Viewer:
    """What one page sent, and what came back."""

    sent: int = 0
    answered: int = 0
    errors: list[str] = field(default_factory=list)


@contextmanager
def served(bundle: Path, backend: str) -> Iterator[tuple[int, str]]:
    """The process of a server, and the address that it printed."""
    command = ["-m", "starcast", "serve", str(bundle), "--port", "0", "--no-browser", "--backend", backend]
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            address = next(found[1] for line in process.stderr if (found := re.search(r"Open (\S+)", line)))
            drain = threading.Thread(target=process.stderr.read, daemon=True)
            drain.start()
            yield process.pid, address
        finally:
            process.terminate()


def watch(address: str, frame: bytes, viewer: Viewer, ends: threading.Event, *, is_slow: bool) -> None:
    """Be a page until `ends`."""
    from websockets.sync.client import connect

    parts = urlsplit(address)
    [token] = parse_qs(parts.query)["token"]
    headers = {"authorization": f"Bearer {token}"}
    with connect(f"ws://{parts.netloc}/live", additional_headers=headers) as live:
        while not ends.is_set():
            if viewer.sent % 50 == 0:
                live.send(json.dumps({"domain": 0, "seed": viewer.sent // 50 % 1000}))
            live.send(struct.pack("<I", viewer.sent) + frame)
            viewer.sent += 1
            if is_slow:
                time.sleep(1)
            answer = live.recv(timeout=60)
            if isinstance(answer, str):
                viewer.errors.append(answer)
            elif struct.unpack_from("<I", answer)[0] == viewer.sent - 1:
                viewer.answered += 1


def memory_of(process: int) -> float:
    """MiB of a process and its children."""
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue  # it has ended
        facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if process in (int(facts["Pid"]), int(facts["PPid"])) and "VmRSS" in facts:
            total += int(facts["VmRSS"].split()[0]) / 1024
    return total


def measure(bundle: Path, options: MemoryOptions) -> dict[str, Any]:
    """Memory over time, and what each viewer got."""
    size = open_bundle(bundle).manifest.trained_size
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    frame = cv2.imencode(".jpg", noise)[1].tobytes()
    viewers, ends = [Viewer() for _ in range(VIEWERS + 1)], threading.Event()
    readings: list[float] = []
    with ExitStack() as stack:
        process, address = stack.enter_context(served(bundle, options.backend))
        threads = [
            threading.Thread(target=watch, args=(address, frame, viewer, ends), kwargs={"is_slow": number == VIEWERS})
            for number, viewer in enumerate(viewers)
        ]
        for thread in threads:
            thread.start()
        begin = time.monotonic()
        while time.monotonic() < begin + 60 * options.minutes:
            time.sleep(EVERY_S)
            readings.append(round(memory_of(process), 1))
        ends.set()
        for thread in threads:
            thread.join(60)
    warm = readings[WARM_S // EVERY_S :]
    part = max(1, len(warm) // 5)
    first, last = statistics.median(warm[:part]), statistics.median(warm[-part:])
    return {
        "growth": round(last / first - 1, 4), "mib": {"first": first, "last": last, "most": max(readings)},
        "viewers": [{"sent": one.sent, "answered": one.answered, "errors": len(one.errors)} for one in viewers],
    }  # fmt: skip


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(MemoryOptions)
def serve_memory(bundle: Path, **values: Any) -> None:
    """Watch the memory of a server with eight viewers."""
    options = MemoryOptions(**values)
    machine = provenance(threads=allowed_threads(), program=PROGRAM)
    found = measure(bundle, options)
    if options.json is not None:
        write_result(options.json, {
            "question": "does the memory of `starcast serve` stay flat?", "machine": machine,
            "bundle": {"name": bundle.resolve().name, "sha256": open_bundle(bundle).sha256},
            "minutes": options.minutes, **found,
        })  # fmt: skip
    click.echo(json.dumps(found, indent=2))


if __name__ == "__main__":
    serve_memory(prog_name=PROGRAM)
