"""`starcast video` and `starcast morph` as a user meets them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import click
import numpy as np
import pytest
from PIL import Image

from starcast.images.write import write_image
from starcast.runtime.video import cli


def starcast(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "starcast", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Sixty frames of noise."""
    path, noise = tmp_path / "clip.mkv", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.height = stream.width = 64
        for _ in range(60):
            pixels = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("verb", ["video", "morph"])
def test_the_help_imports_no_engine_and_ends_in_an_example(verb):
    code = f"""
import sys
from starcast.cli import main
try:
    main(["{verb}", "--help"])
except SystemExit as leaving:
    assert leaving.code == 0
heavy = {{"torch", "onnx", "cv2", "av", "onnxruntime", "openvino", "tqdm"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"starcast {verb} my-model" in done.stdout


def test_a_video_is_translated_and_summed_up(clip, tiny_bundle, tmp_path):
    done = starcast("video", tiny_bundle, clip, "-o", tmp_path / "out.mp4", "--domain", "dog", "--preset", "ultrafast")
    assert done.returncode == 0, done.stderr
    assert "out.mp4: 60 frames in " in done.stdout
    assert (tmp_path / "out.mp4").exists()
    assert (tmp_path / "out.mp4.json").exists()


def test_a_cut_video_ends_with_status_1_and_one_sentence(clip, tiny_bundle, tmp_path):
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 3])
    done = starcast("video", tiny_bundle, clip, "-o", tmp_path / "out.mp4", "--domain", "dog")
    assert done.returncode == 1
    assert "clip.mkv ends early" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [(b"", 1, "is empty"), (b"some text\n" * 40, 1, "is a text file"), (None, 2, "does not exist")],
    ids=["empty", "text", "missing"],
)
def test_a_source_that_is_no_video_is_one_sentence(tiny_bundle, tmp_path, content, status, words):
    source = tmp_path / "in.mp4"
    if content is not None:
        source.write_bytes(content)
    done = starcast("video", tiny_bundle, source, "-o", tmp_path / "out.mp4", "--domain", "dog")
    assert done.returncode == status
    assert done.stderr.startswith("Error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()


def test_what_is_there_is_wrong_use_without_overwrite(clip, tiny_bundle, tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"mine")
    done = starcast("video", tiny_bundle, clip, "-o", tmp_path / "out.mp4", "--domain", "dog")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr


def test_a_loop_is_rendered(tiny_bundle, tmp_path):
    write_image(tmp_path / "cat.png", np.full((32, 32, 3), 99, np.uint8))
    done = starcast(
        "morph", tiny_bundle, tmp_path / "cat.png", "-o", tmp_path / "loop.mp4", "--domain", "all", "--seeds", "1,2",
        "--frames-per-step", 4,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "loop.mp4: 24 frames in " in done.stdout


def test_an_animated_image_becomes_a_film(tiny_bundle, tmp_path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], duration=[200, 40, 360], loop=0)
    out = tmp_path / "out.mp4"
    done = starcast("video", tiny_bundle, tmp_path / "in.webp", "-o", out, "--domain", "dog", "--preset", "ultrafast")
    assert done.returncode == 0, done.stdout + done.stderr
    with av.open(str(out)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        assert container.duration == 600_000
    assert times == [Fraction(0), Fraction(1, 5), Fraction(6, 25)]


def test_no_video_is_written_into_a_bundle(clip, tiny_bundle, tmp_path):
    bundle = tmp_path / "my-model"
    shutil.copytree(tiny_bundle, bundle)
    before = sorted(bundle.rglob("*"))
    done = starcast("video", bundle, clip, "-o", bundle, "--domain", "cat", "--seed", "7")
    assert (done.returncode, done.stderr) == (2, f"Error: {bundle} is a bundle: choose another -o\n")
    assert sorted(bundle.rglob("*")) == before


@pytest.mark.parametrize("command", [cli.video, cli.morph], ids=lambda command: command.name)
def test_every_option_of_a_video_has_a_heading_in_the_help(command):
    named = [name for names in command.headings.values() for name in names]
    options = {parameter.name for parameter in command.params if isinstance(parameter, click.Option)}
    assert len(named) == len(set(named))
    assert set(named) == options
