"""How old are live frames when they are shown, after five seconds and after five minutes?

    python -m starcast.benchmarks.studies.live_age my-model -o benchmarks/results/live-age.json

A stream of 30 frames per second goes over UDP into `starcast live`, whose model is slowed down to 100 ms an image. Each
frame shows the time at which it was drawn, as a row of black and white fields. A window reads it back from what it has
drawn, and a recording beside it from what it has encoded. So the age covers all that the command does, and what
encoding and decoding the source add. With a model of 100 ms, 95 frames of 100 may be no older than 1.5 of its times and
a frame of the source: 184 ms.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import options_from
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import open_bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.live.captured import Translated
from starcast.runtime.live.options import LiveOptions
from starcast.runtime.live.run import translate_live
from starcast.runtime.live.sinks.background import BackgroundSink
from starcast.runtime.translator import Translator

PROGRAM = "python -m starcast.benchmarks.studies.live_age"
RATE = 30
BAR_MS = 1.5 * 100 + 34
SIZE = 256
BITS, FIELD = 16, 16  # milliseconds, modulo 65 s; fields of 16 pixels along the top
EARLY_S = 5.0
_PERCENTS = (50, 95, 99)

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class AgeOptions(CheckedOptions):
    """How long, and where the results go."""

    seconds: int = option(300, "How long each source is shown.", minimum=10)
    engine_ms: int = option(100, "How long the model takes for an image.", minimum=1)
    backend: str = flags.backend("onnxruntime", "The engine.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


def draw_time(milliseconds: int) -> Image:
    """A grey image [SIZE, SIZE, 3] with a time as fields, the lowest bit first."""
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    for bit in range(BITS):
        image[:FIELD, bit * FIELD : (bit + 1) * FIELD] = 255 * (milliseconds >> bit & 1)
    return image


def read_time(image: Image) -> int:
    """The time that an image shows; its size may be another."""
    height, width = image.shape[:2]
    row = image[height * FIELD // SIZE // 2].astype(int).sum(axis=-1)
    places = [round((bit + 0.5) * FIELD * width / SIZE) for bit in range(BITS)]
    return sum(int(row[place] > 3 * 128) << bit for bit, place in enumerate(places))


class Clock:
    """Milliseconds, modulo 2 ** BITS."""

    def now(self) -> int:
        return int(time.monotonic() * 1000) % (1 << BITS)

    def age_of(self, drawn: int) -> int:
        return (self.now() - drawn) % (1 << BITS)


class Ages:
    """The ages that a sink read: when, since the first, and how old."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = 0.0
        self.rows: list[tuple[float, int]] = []

    def read(self, image: Image) -> None:
        """Note the age of a frame that is shown now."""
        now = time.monotonic()
        self._began = self._began or now
        self.rows.append((now - self._began, self._clock.age_of(read_time(image))))

    def between(self, start_s: float, end_s: float) -> dict[str, float]:
        """Percentiles in milliseconds."""
        ages = [age for at, age in self.rows if start_s <= at < end_s]
        return {
            "frames": len(ages),
            **{f"p{percent}": round(float(np.percentile(ages, percent)), 1) for percent in _PERCENTS},
        }


def serve_stream(clock: Clock, port: int, stop: threading.Event) -> None:
    """Push frames as an MPEG transport stream over UDP, each as soon as it is drawn."""
    url = f"udp://127.0.0.1:{port}?pkt_size=1316"
    # without their lengths, a reader sees the end of a frame only when the next one comes, 33 ms later
    with av.open(url, "w", format="mpegts", container_options={"omit_video_pes_length": "0"}) as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "12"}
        stream: Any = container.add_stream("libx264", rate=Fraction(RATE), options=options)
        stream.width = stream.height = SIZE
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", RATE // 2
        began, number = time.monotonic(), 0
        while not stop.wait(max(0.0, began + number / RATE - time.monotonic())):
            frame = av.VideoFrame.from_ndarray(draw_time(clock.now()), "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
            number += 1


def measure(bundle: Path, folder: Path, options: AgeOptions) -> list[dict[str, Any]]:
    """The ages of a stream's frames in a window and in a recording beside it."""
    clock, stop = Clock(), threading.Event()
    window, recording = Ages(clock), Ages(clock)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = threading.Thread(target=serve_stream, args=(clock, port, stop), daemon=True)
    with ExitStack() as stack:
        stack.enter_context(patch.dict("os.environ", {"SDL_VIDEODRIVER": "dummy"}))
        stack.enter_context(patch.object(Translator, "__call__", slowed(options.engine_ms / 1000)))
        _read_at_sinks(stack, window, recording)
        timer = threading.Timer(options.seconds + 3, stop.set)
        stack.callback(timer.cancel)
        source.start()
        timer.start()
        url = f"udp://127.0.0.1:{port}?fifo_size=50000&overrun_nonfatal=1"
        report = _translate(bundle, url, ["window", str(folder / "show.mkv")], stop, options)
        source.join()
    facts = report.ages.facts()
    says = {name: facts[name] for name in ("captured", "shown", "dropped", "age_ms", "engine_ms")}
    return [
        {
            "output": output, "first 5 s": ages.between(0, EARLY_S),
            "last 5 s": ages.between(options.seconds - EARLY_S, options.seconds),
            "all": ages.between(0, options.seconds), "says": says,
        }
        for output, ages in (("window", window), ("recording", recording))
    ]  # fmt: skip


def slowed(seconds: float) -> Any:
    """A model that gives its images back after that time, and computes on one core meanwhile."""
    from starcast.benchmarks.studies.video_rate import compute

    def translate(self: Translator, images: Image, style: object) -> Image:
        begin = time.monotonic()
        compute(seconds / 2)
        time.sleep(max(0.0, begin + seconds - time.monotonic()))
        return images

    return translate


def _read_at_sinks(stack: ExitStack, window: Ages, recording: Ages) -> None:
    """Let the window read what it has drawn, and a recording what it has encoded."""
    from starcast.runtime.live.sinks.window import Window

    draw, init = Window._draw, BackgroundSink.__init__

    def drawn(self: Window, result: Translated) -> None:
        draw(self, result)
        window.read(result.image)

    def begun(self: BackgroundSink, sink: Any, places: int, shown: Any, again: Any = None) -> None:
        def seen(result: Translated) -> None:
            shown(result)
            recording.read(result.image)

        init(self, sink, places, seen, again)

    stack.enter_context(patch.object(Window, "_draw", drawn))
    stack.enter_context(patch.object(BackgroundSink, "__init__", begun))


def _translate(bundle: Path, source: str, targets: list[str], stop: threading.Event, options: AgeOptions) -> Any:
    """`starcast live`, until `stop`."""
    from starcast.runtime.live.sources.stream import StreamSource

    frames = StreamSource.frames

    def until_stopped(self: StreamSource) -> Iterator[Any]:
        for frame in frames(self):
            yield frame
            if stop.is_set():
                return

    domain = open_bundle(bundle).manifest.domains[0]
    with patch.object(StreamSource, "frames", until_stopped):
        return translate_live(
            bundle, source, targets, LiveOptions(domain=domain, seed=0, backend=options.backend), progress=click.echo
        )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(AgeOptions)
def live_age(bundle: Path, **values: Any) -> None:
    """Measure how old live frames are when they are shown."""
    options = AgeOptions(**values)
    machine = provenance(threads=allowed_threads(), program=PROGRAM)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(bundle, Path(folder), options)
    if options.json is not None:
        write_result(options.json, {
            "question": "how old are live frames when they are shown?", "machine": machine,
            "bundle": {"name": bundle.resolve().name, "sha256": open_bundle(bundle).sha256},
            "seconds": options.seconds, "engine_ms": options.engine_ms, "bar_ms": BAR_MS, "rows": rows,
        })  # fmt: skip
    click.echo(tabulate(
        [[row["output"], part, *row[part].values()] for row in rows for part in ("first 5 s", "last 5 s", "all")],
        headers=["output", "", "frames", *(f"p{percent} ms" for percent in _PERCENTS)],
    ))  # fmt: skip


if __name__ == "__main__":
    live_age(prog_name=PROGRAM)
