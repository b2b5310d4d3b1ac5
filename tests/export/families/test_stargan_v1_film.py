"""`video` with StarGAN v1: each frame is what the original's program makes of it, for every kind of checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from original_stargan_v1 import original_image, original_logits, write_original
from PIL import Image

from starcast.cli import root
from starcast.export.gate.images import draw_images
from starcast.runtime.engines.registry import ENGINES
from starcast.runtime.video.output import sink as film_module


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A checkpoint, a film, and a translation of it. `height`, `width`: of the film."""

    attributes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    side: int = 64
    height: int = 64
    width: int = 64
    flags: tuple[str, ...]
    engine: str = "onnxruntime"

    @property
    def bits(self) -> int:
        return 2 if self.attributes and self.classes else 0


SHUFFLED = ("Young", "Brown_Hair", "Male", "Black_Hair", "Blond_Hair")
MANY = (*SHUFFLED, *(f"a{number}" for number in range(10)))
KINDS = {
    "15 attributes, read from the first frame": Kind(
        attributes=MANY, side=128, height=129, width=131, flags=("--flip", "Male,a3,a9", "--set", "Blond_Hair"),
        engine="ncnn",
    ),
    "both data sets": Kind(
        attributes=SHUFFLED[:4], classes=("angry", "happy", "sad"), flags=("--labels", "1,0,0.5,1,0,0,0,1,0")
    ),
}  # fmt: skip
SLOW_KINDS = {
    "one attribute": Kind(attributes=("Male",), flags=("--set", "Male", "--has", "none")),
    "five in an odd order": Kind(
        attributes=SHUFFLED, side=128, height=128, width=128, flags=("--set", "Black_Hair", "--unset", "Young")
    ),
    "seven": Kind(attributes=MANY[3:10], height=61, width=70, flags=("--flip", "a1"), engine="openvino"),
    "eight classes": Kind(classes=tuple("abcdefgh"), flags=("--domain", "f"), engine="ncnn"),
    "a class of both data sets": Kind(
        attributes=SHUFFLED[:4], classes=("angry", "happy", "sad"), flags=("--set", "happy"), engine="openvino"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", [
    *(pytest.param(kind, id=name) for name, kind in KINDS.items()),
    *(pytest.param(kind, id=name, marks=pytest.mark.slow) for name, kind in SLOW_KINDS.items()),
])  # fmt: skip
def test_every_frame_is_the_originals_image(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absence = ENGINES[kind.engine].absent()
    if absence is not None:
        pytest.skip(f"{kind.engine} is {absence.reason}")
    names = kind.attributes + kind.classes
    generator, discriminator = write_original(tmp_path, len(names) + kind.bits, len(names), kind.side)
    frames = draw_images(3, kind.height, kind.width, seed=2)
    write_film(tmp_path / "film.mkv", frames)
    named = [word for flag, part in (("--attributes", kind.attributes), ("--domains", kind.classes)) if part
             for word in (flag, ",".join(part))]  # fmt: skip
    run("export", tmp_path / "200000-G.ckpt", "-o", tmp_path / "bundle", "--for", kind.engine, *named)
    written: list[NDArray[np.uint8]] = []
    write = film_module.Sink.write

    def keep(sink: Any, item: Any) -> None:
        if hasattr(item, "pixels"):
            written.append(np.asarray(item.pixels).copy())
        write(sink, item)

    monkeypatch.setattr(film_module.Sink, "write", keep)
    words = ["--fit", "native", "--backend", kind.engine, "--threads", "1", *kind.flags]
    run("video", tmp_path / "bundle", tmp_path / "film.mkv", "-o", tmp_path / "out.mp4", *words)
    labels = target(kind, discriminator, frames[0])
    assert len(written) == len(frames)
    for found, frame in zip(written, frames, strict=True):
        # sides become multiples of 4 by mirroring, and are cut back
        padded = np.pad(frame, ((0, -kind.height % 4), (0, -kind.width % 4), (0, 0)), "symmetric")
        right = np.rint(original_image(generator, padded, labels))[: kind.height, : kind.width]
        assert np.abs(found.astype(int) - right.astype(int)).max() <= 1


def target(kind: Kind, discriminator: Any, frame: NDArray[np.uint8]) -> list[float]:
    """The labels that the flags ask for, worked out by hand: hair colours exclude each other."""
    given = dict(zip(kind.flags[::2], kind.flags[1::2], strict=True))
    if "--labels" in given:
        return [float(number) for number in given["--labels"].split(",")]
    names = kind.attributes + kind.classes
    chosen = given.get("--domain", given.get("--set", ""))
    if chosen in kind.classes:
        own = [float(name == chosen) for name in names]
        return own + ([0.0, 1.0] if kind.bits else [])
    if "--has" in given:
        has = dict.fromkeys(names, 0.0)
    else:
        small = np.array(Image.fromarray(frame).resize((kind.side, kind.side), Image.Resampling.BILINEAR))
        has = dict(zip(names, (original_logits(discriminator, small) > 0).astype(float), strict=True))
    for name in filter(None, given.get("--flip", "").split(",")):
        has[name] = 1 - has[name]
    if "--unset" in given:
        has[given["--unset"]] = 0.0
    if chosen.endswith("_Hair"):
        has |= {name: 0.0 for name in names if name.endswith("_Hair")}
    if chosen:
        has[chosen] = 1.0
    return [has[name] for name in names] + ([1.0, 0.0] if kind.bits else [])


def write_film(path: Path, frames: NDArray[np.uint8]) -> None:
    """A film that loses nothing."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=5)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode(None))


def run(*words: object) -> None:
    CliRunner().invoke(root, [str(word) for word in words], standalone_mode=False, catch_exceptions=False)
