"""What the commands of `hardship` work on, and the commands: small models, sets and videos, made once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TINY = [
    *("--image-size", "32", "--channel-base", "256", "--max-channels", "16", "--style-dim", "8", "--latent-dim", "4"),
    *("--mapping-width", "16", "--batch-size", "2", "--sample-every", "0", "--device", "cpu", "--workers", "0"),
]
TINY_V1 = [
    *("--family", "stargan_v1", "--image-size", "32", "--generator-width", "4", "--discriminator-width", "4"),
    *("--residual-blocks", "1", "--discriminator-layers", "3", "--batch", "2", "--sample-every", "0"),
    *("--device", "cpu", "--workers", "0"),
]
TINY_STYLEGAN2 = [
    *("--family", "stylegan2", "--image-size", "32", "--latent-dim", "8", "--mapping-depth", "2", "--capacity", "2"),
    *("--max-channels", "8", "--batch", "4", "--sample-every", "0", "--device", "cpu", "--workers", "0"),
]
STEPS, FRAMES = 4, 20
# names that stand for a pipe: the harness gives `clip.mkv` to the command, and takes what it writes
STANDARD_INPUT, STANDARD_OUTPUT = "<stdin", ">stdout.mkv"


@dataclass(frozen=True)
class Material:
    """What the commands work on, below one folder; `more`: commands in place of those below."""

    work: Path
    more: Mapping[str, Callable[[Path], list[str]]] = field(default_factory=dict)

    @property
    def commands(self) -> dict[str, Callable[[Path], list[str]]]:
        """By name, the arguments of a command whose output goes below a folder."""
        alone = ["--backend", "onnxruntime", "--threads", "1"]
        engine = ["--domain", "1", *alone]
        bundle, data = str(self.work / "bundle"), str(self.work / "set")
        by_labels = str(self.work / "stargan_v1")
        images = [f"{data}/striped/val", f"{data}/spotted/train"]
        return {
            "translate": lambda out: [
                "translate", bundle, *images, "-o", str(out / "images"), *engine
            ],
            **self._videos(bundle, engine),
            "train": lambda out: [
                "train", data, "-o", str(out / "run"), *TINY, "--steps", str(STEPS), "--save-every", "1"
            ],
            "labels": lambda out: [
                "translate", by_labels, *images, "-o", str(out / "images"), "--set", "striped", *alone
            ],
            "generate": lambda out: [
                "generate", str(self.work / "stylegan2"), "-o", str(out / "images"), "--seeds", "0-7", *alone
            ],
            **self.more,
        }  # fmt: skip

    def _videos(self, bundle: str, engine: list[str]) -> dict[str, Callable[[Path], list[str]]]:
        """The commands that write videos, each of FRAMES frames."""
        clip, image = str(self.work / "clip.mkv"), str(self.work / "frames/0001.png")

        def video(name: str, *more: str, source: str = clip) -> Callable[[Path], list[str]]:
            return lambda out: ["video", bundle, source, "-o", str(out / name), *more, *engine]

        return {
            "video": video("film.mp4"),
            "videos": video("films", source=str(self.work / "clips")),
            "jobs": lambda out: ["video", "--jobs", str(self.work / "night.yaml"), bundle, "-o", str(out), *engine[2:]],
            "numbered": video("shot_%04d.png", source=str(self.work / "frames")),
            "gif": video("film.gif"), "webp": video("film.webp"), "apng": video("film.png"),
            "keys": lambda out: [
                "video", bundle, clip, "-o", str(out / "film.mp4"), "--style-keys", str(self.work / "keys.yaml"),
                "--statistics", str(out / "times.json"), *engine[2:]
            ],
            "piped": lambda out: ["video", bundle, STANDARD_INPUT, "-o", str(out / "film.mp4"), *engine],
            "to-pipe": lambda out: ["video", bundle, clip, "-o", str(out / STANDARD_OUTPUT), *engine],
            "morph": lambda out: [
                "morph", bundle, image, "-o", str(out / "film.mp4"), "--seeds", "1,2", "--frames-per-step",
                str(FRAMES // 2), *engine
            ],
        }  # fmt: skip


def prepare(work: Path) -> Material:
    """Draw a data set, train two steps, export, and make a clip with sound, unless they are there."""
    work.mkdir(parents=True, exist_ok=True)

    def starcast(*arguments: object) -> None:
        subprocess.run([sys.executable, "-m", "starcast", *map(str, arguments)], check=True)

    if not (work / "set").exists():
        starcast("dataset", "make", work / "set", "--image-size", 32, "--train-images", 6, "--val-images", 2)
    for bundle, tiny in (("bundle", TINY), ("stargan_v1", TINY_V1), ("stylegan2", TINY_STYLEGAN2)):
        if not (work / bundle).exists():
            run = work / f"run-{bundle}"
            starcast("train", work / "set", "-o", run, *tiny, "--steps", 2)
            starcast("export", run, "-o", work / bundle, "--for", "onnxruntime")
    if not (work / "clip.mkv").exists():
        _write_clip(work / "clip.mkv")
    _write_more(work)
    return Material(work)


def _write_clip(path: Path) -> None:
    import av
    import numpy as np

    draws = np.random.default_rng(0)
    with av.open(str(path), "w") as film:
        video, sound = film.add_stream("ffv1", rate=25), film.add_stream("flac", rate=48000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(FRAMES):
            image = draws.integers(0, 256, (48, 64, 3), np.uint8)
            film.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            noise = av.AudioFrame.from_ndarray(draws.integers(-99, 99, (1, 1920), np.int16), "s16", "mono")
            noise.sample_rate, noise.pts = 48000, number * 1920
            film.mux(sound.encode(noise))
        film.mux([*video.encode(None), *sound.encode(None)])


def _write_more(work: Path) -> None:
    """Several films, numbered images, a file of jobs and one of keys."""
    import numpy as np
    from PIL import Image

    if (work / "night.yaml").exists():
        return
    for name in ("clips/a.mkv", "clips/deep/b.mkv", "clips/c.mkv"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes((work / "clip.mkv").read_bytes())
    (work / "frames").mkdir(exist_ok=True)
    draws = np.random.default_rng(0)
    for number in range(1, FRAMES + 1):
        pixels = draws.integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(work / f"frames/{number:04d}.png")
    (work / "keys.yaml").write_text("- {time: 0, domain: '1', seed: 7}\n- {time: 50%, domain: '0', seed: 3}\n")
    (work / "night.yaml").write_text(
        "jobs:\n- {source: clips, domain: '1', output: night/}\n- {source: clip.mkv, style: keys.yaml, output: k.mp4}\n"
        "- {source: frames, domain: '0', output: f.gif}\n"
    )
