"""Does `starcast video` come out the same, however often it is killed?

    python -m starcast.benchmarks.studies.video_kills my-model -o benchmarks/results/video-kills.json

Twenty drawn films, each translated another way, are killed at random moments and started again with the same command.
In the end the decoded frames, with their times, and every packet of the other streams are compared with those of a
film that nobody killed. Segments are shorter than usual (SEGMENT_FRAMES), so that a short film has many.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import options_from
from starcast.options import CheckedOptions, option
from starcast.runtime.cores import allowed_threads
from starcast.runtime.video.restart.parts import folder_of
from starcast.train.creatures.coats import random_coat
from starcast.train.creatures.poses import random_pose
from starcast.train.creatures.video import walk_frames

PROGRAM = "python -m starcast.benchmarks.studies.video_kills"
SEGMENT_FRAMES = 16
_RATE, _SAMPLES = Fraction(25), 48_000
_SIZE = 96, 128
_COMMAND = f"""
import sys
from starcast.runtime.video.restart import segments
segments.SEGMENT_FRAMES = {SEGMENT_FRAMES}
from starcast.cli import main
sys.exit(main(sys.argv[1:]))
"""

_RECURSION = ("--recursion", "0.4", "--recursion-zoom", "1.02", "--recursion-rotate", "1")


@dataclass(frozen=True)
class Film:
    """How a film is drawn, what its translation is called, and the flags that it is translated with."""

    output: str
    flags: tuple[str, ...] = ()
    source: str = "film.mp4"
    sound: str | None = "aac"
    is_uneven: bool = False
    is_interlaced: bool = False


FILMS = {
    "plain": Film("out.mp4"),
    "uneven times, encoded sound": Film("out.mp4", source="film.mkv", sound="pcm_s16le", is_uneven=True),
    "uneven times in Matroska": Film("out.mkv", source="film.mkv", sound="flac", is_uneven=True),
    "recursion": Film("out.mp4", _RECURSION),
    "recursion along keys": Film("out.mov", (*_RECURSION, "--seeds", "1,2,3", "--loop")),
    "recursion, uneven times": Film("out.mkv", _RECURSION, source="film.mkv", sound="flac", is_uneven=True),
    "smooth": Film("out.mp4", ("--smooth", "0.7")),
    "smooth recursion": Film("out.mp4", ("--smooth", "0.5", *_RECURSION)),
    "a loop of styles": Film("out.mp4", ("--seeds", "1,2,3,4", "--loop")),
    "put back": Film("out.mp4", ("--keep-size",)),
    "beside the source": Film("out.mkv", ("--layout", "side-by-side", "--match-colour", "--keep-size")),
    "a part of the frame": Film("out.mp4", ("--roi", "10,10,64,64")),
    "a part of the video": Film("out.mp4", ("--start", "1.5", "--end", "9")),
    "another rate": Film("out.mp4", ("--fps", "29.97")),
    "interlaced": Film("out.mp4", source="film.mkv", sound="flac", is_interlaced=True),
    "lossless": Film("out.mkv", ("--codec", "ffv1")),
    "VP9": Film("out.webm", ("--preset", "ultrafast")),
    "HEVC": Film("out.mp4", ("--codec", "hevc", "--preset", "ultrafast")),
    "an animation": Film("out.webp"),
    "numbered images": Film("out/shot_%05d.png"),
}


@dataclass(frozen=True, kw_only=True)
class KillOptions(CheckedOptions):
    """How often, and where the results go."""

    kills: int = option(200, "Kills in all; each video gets its share.", minimum=len(FILMS))
    frames: int = option(400, "Frames of each video.", minimum=4 * SEGMENT_FRAMES)
    backend: str = flags.backend("onnxruntime", "The engine that translates.")
    seed: int = flags.seed(0)
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(KillOptions)
def video_kills(bundle: Path, **values: Any) -> None:
    """Kill translations of videos at random moments, and compare what comes out in the end."""
    options = KillOptions(**values)
    moments = random.Random(options.seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, film) in enumerate(FILMS.items()):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            share = options.kills // len(FILMS) + (number < options.kills % len(FILMS))
            rows.append({"film": name, **kill_film(bundle.resolve(), folder, film, share, options, moments)})
            click.echo(f"{name}: {rows[-1]}")
    different = sum(row["different"] for row in rows)
    click.echo(tabulate(rows, headers="keys"))
    click.echo(f"{sum(row['kills'] for row in rows)} kills, {different} videos came out different")
    if options.json is not None:
        write_result(options.json, {
            **provenance(threads=allowed_threads(), program=PROGRAM), "segment_frames": SEGMENT_FRAMES, "films": rows,
        })  # fmt: skip
    sys.exit(bool(different))


def kill_film(
    bundle: Path, folder: Path, film: Film, kills: int, options: KillOptions, moments: random.Random
) -> dict[str, int]:
    """Translate one film undisturbed, then so often that it is killed `kills` times in all, until it is whole.

    `varies`: two undisturbed runs differ, so the encoder or the engine does not always give the same."""
    source = draw_film(folder / film.source, film, options.frames)
    command = [
        sys.executable, "-c", _COMMAND, "video", str(bundle), str(source), "--domain", "0", "--backend",
        options.backend, *(() if "--seeds" in film.flags else ("--seed", "3")), *film.flags,
    ]  # fmt: skip
    start = time.monotonic()
    whole = folder / "whole" / film.output
    whole.parent.mkdir(parents=True)
    subprocess.run([*command, "-o", str(whole)], check=True, stdout=subprocess.DEVNULL)
    lasts = time.monotonic() - start
    wanted = content_of(whole)
    again = folder / "again" / film.output
    again.parent.mkdir(parents=True)
    subprocess.run([*command, "-o", str(again)], check=True, stdout=subprocess.DEVNULL)
    target = folder / "killed" / film.output
    target.parent.mkdir(parents=True)
    done = {"varies": int(content_of(again) != wanted), "kills": 0, "continued": 0, "finished": 0, "different": 0}
    while done["kills"] < kills or not _is_there(target):
        if _is_there(target):  # begin again, for further kills
            _compare(target, wanted, done)
            _remove(target)
        running = subprocess.Popen([*command, "-o", str(target)], stdout=subprocess.DEVNULL)
        try:
            running.wait(moments.uniform(0, lasts) if done["kills"] < kills else None)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            done["kills"] += 1
            done["continued"] += folder_of(target).exists()
        else:
            if running.returncode:
                raise RuntimeError(f"{' '.join(command)} ended with {running.returncode}")
    _compare(target, wanted, done)
    return done


def content_of(output: Path) -> str:
    """A hash of all that a film shows and plays: frames with their times, packets of the other streams with theirs."""
    digest = hashlib.sha256()
    for path in sorted(output.parent.glob(f"*{output.suffix}")) if "%" in output.name else [output]:
        with av.open(str(path)) as film:
            entries = [(stream.type, str(stream.time_base), str(stream.start_time)) for stream in film.streams]
            digest.update(repr(entries).encode())
            parts: dict[int, Any] = {stream.index: hashlib.sha256() for stream in film.streams}
            for packet in film.demux():
                part = parts[packet.stream.index]
                if packet.stream.type == "video":
                    frames: Any = packet.decode()
                    for frame in frames:
                        part.update(repr(frame.pts).encode() + frame.reformat(format="rgba").to_ndarray().tobytes())
                elif packet.size:
                    part.update(repr((packet.pts, packet.duration)).encode() + bytes(packet))
            for part in parts.values():
                digest.update(part.digest())
    return digest.hexdigest()


def draw_film(target: Path, film: Film, frames: int) -> Path:
    """A walking creature and a tone."""
    draws = np.random.default_rng(0)
    walk = itertools.islice(walk_frames(random_pose(draws), random_coat(draws, "spotted"), 4, side=128), frames)
    images = [np.asarray(cv2.resize(image, _SIZE[::-1]), np.uint8) for image in walk]
    base = Fraction(1, 1000) if film.is_uneven else 1 / _RATE
    with av.open(str(target), "w") as container:
        settings = {"crf": "15", "preset": "ultrafast", **({"x264-params": "tff=1"} if film.is_interlaced else {})}
        video: Any = container.add_stream("libx264", rate=_RATE, options=settings)
        video.height, video.width, video.pix_fmt = *_SIZE, "yuv420p"
        video.codec_context.time_base = video.time_base = base
        sound: Any = None if film.sound is None else container.add_stream(film.sound, rate=_SAMPLES)
        if sound is not None:
            sound.layout = "stereo"
        for number in range(frames):
            pts = number * 40 + int(draws.integers(0, 30)) if film.is_uneven else number
            frame: Any = av.VideoFrame.from_ndarray(images[number % len(images)], format="rgb24")
            frame.pts, frame.time_base = pts, base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            for packet in _tone(frames / _RATE, sound):
                container.mux(packet)
    return target


def _tone(seconds: Fraction, sound: Any) -> Iterator[Any]:
    """Packets of two tones, left and right."""
    samples, size = round(seconds * _SAMPLES), 1024
    time_s = np.arange(samples) / _SAMPLES
    wave = np.stack([np.sin(2 * np.pi * hertz * time_s) for hertz in (220, 331)]).astype(np.float32) / 4
    resampler = av.AudioResampler(format=sound.codec_context.format, layout="stereo", rate=_SAMPLES)
    for begin in range(0, samples - size, size):
        part: NDArray[np.float32] = np.ascontiguousarray(wave[:, begin : begin + size])
        frame: Any = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = _SAMPLES, begin, Fraction(1, _SAMPLES)
        for ready in resampler.resample(frame):
            yield from sound.encode(ready)
    yield from sound.encode(None)


def _compare(target: Path, wanted: str, done: dict[str, int]) -> None:
    done["finished"] += 1
    done["different"] += content_of(target) != wanted


def _first(target: Path) -> Path:
    """The output, or the image of a sequence that is written last."""
    return target.parent / (target.name % 1) if "%" in target.name else target


def _is_there(target: Path) -> bool:
    return _first(target).exists()


def _remove(target: Path) -> None:
    for path in target.parent.glob("*"):
        if path.is_file():
            path.unlink()


if __name__ == "__main__":
    video_kills(prog_name=PROGRAM)
