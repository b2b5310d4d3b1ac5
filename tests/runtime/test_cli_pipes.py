"""`-` as a source and as OUT."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from starcast.cli import root
from starcast.errors import StarcastError
from starcast.images.mark import read_mark
from starcast.images.read import read_image
from starcast.images.write import write_image
from starcast.runtime.marks import parse_mark

LATENT_0 = np.random.RandomState(0).standard_normal(4).astype(np.float32)


def _draw_image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _starcast(*arguments: object, **settings: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "starcast", *map(str, arguments)]
    return subprocess.run(command, capture_output="stdout" not in settings, **settings)


def _decode(content: bytes) -> tuple[str | None, np.ndarray]:
    with Image.open(io.BytesIO(content)) as image:
        return image.format, np.asarray(image)


def test_an_image_goes_through_a_pipe(tiny_bundle, tiny_model):
    result = _starcast("translate", tiny_bundle, "-", "-o", "-", "--domain", "dog", input=_png(_draw_image()))
    assert result.returncode == 0
    kind, pixels = _decode(result.stdout)
    assert kind == "PNG"
    np.testing.assert_array_equal(
        pixels, tiny_model.translation(_draw_image()[None], tiny_model.latent_style(LATENT_0, 1))[0]
    )
    assert b"1 translated, 0 there already, 0 failed." in result.stderr


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("webp", "WEBP")])
def test_the_format_is_chosen_by_its_flag(tmp_path, tiny_bundle, suffix, kind):
    write_image(tmp_path / "x.png", _draw_image())
    result = _starcast("translate", tiny_bundle, tmp_path / "x.png", "-o", "-", "--domain", "dog", "--format", suffix)
    assert _decode(result.stdout)[0] == kind
    assert list(tmp_path.iterdir()) == [tmp_path / "x.png"]


def test_what_a_library_prints_is_not_in_the_image(tmp_path, tiny_bundle):
    code = """
import os, sys
from starcast.cli import main
from starcast.runtime.translator import Translator
call = Translator.__call__
def chatty(self, *arguments):
    print("a line of Python")
    os.write(1, b"a line of C\\n")
    return call(self, *arguments)
Translator.__call__ = chatty
main(sys.argv[1:])
"""
    arguments = ["translate", tiny_bundle, "-", "-o", "-", "--domain", "dog"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], input=_png(_draw_image()), capture_output=True
    )
    assert _decode(result.stdout)[0] == "PNG"
    assert result.stdout.startswith(b"\x89PNG")
    assert result.stdout.endswith(b"IEND\xaeB`\x82")
    assert b"a line of Python" in result.stderr
    assert b"a line of C" in result.stderr


def test_standard_input_goes_into_a_folder_and_is_known_again(tmp_path, tiny_bundle):
    command = ["translate", tiny_bundle, "-", "-o", tmp_path / "out", "--domain", "dog"]
    assert b"1 translated" in _starcast(*command, input=_png(_draw_image())).stderr
    assert read_image(tmp_path / "out/stdin.png").shape == (32, 32, 3)
    assert parse_mark(read_mark(tmp_path / "out/stdin.png")) is not None
    assert '"sources": [\n        "-"\n      ]' in (tmp_path / "out/starcast.json").read_text(encoding="utf-8")
    assert b"1 there already" in _starcast(*command, input=_png(_draw_image())).stderr
    other = _starcast(*command, input=_png(_draw_image(1)))
    assert other.returncode == 2
    assert b"--overwrite" in other.stderr


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "standard input is empty: pipe an image into it, or give a file"),
    (b"some text\n", "standard input is a text file: give PNG"),
    (_png(_draw_image())[:200], "standard input is damaged or cut short"),
])  # fmt: skip
def test_what_is_no_image_is_a_sentence_and_nothing_is_written(tiny_bundle, content, sentence):
    result = _starcast("translate", tiny_bundle, "-", "-o", "-", "--domain", "dog", input=content)
    assert (result.returncode, result.stdout) == (1, b"")
    assert sentence in result.stderr.decode()
    assert b"Traceback" not in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs an endless device")
def test_an_endless_stream_ends(tiny_bundle):
    with Path("/dev/zero").open("rb") as zeros:
        result = _starcast(
            "translate", tiny_bundle, "-", "-o", "-", "--domain", "dog", "--max-pixels", 100, stdin=zeros,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert result.returncode == 1
    assert b"standard input has more than 67110464 bytes" in result.stderr


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("translate", "BUNDLE", "x.png", "y.png", "-o", "-", "--domain", "0"), "-o - writes one image, but 2 sources"),
    (("translate", "BUNDLE", "in", "-o", "-", "--domain", "0"), "in is a folder: give -o a folder, too"),
    (("translate", "BUNDLE", "x.png", "-o", "-", "--domain", "all"), "standard output is one image, but 3 would be"),
    (("translate", "BUNDLE", "list.txt", "-o", "-", "--domain", "0"), "standard output is one image, but 2 would be"),
    (("translate", "BUNDLE", "-", "-", "-o", "out", "--domain", "0"), "- is given twice"),
    (("translate", "BUNDLE", "x.png", "-o", "-", "--domain", "cow"), "cow"),
    (("translate", "BUNDLE", "x.png", "-o", "-", "--domain", "0", "--keep-alpha", "--format", "jpg"), "--keep-alpha"),
    (("translate", "BUNDLE", "x.png", "-o", "out", "--ref", "-"), "--ref cannot be -, which means standard input"),
    (("translate", "-", "x.png", "-o", "out"), "BUNDLE cannot be -, which means standard input"),
    (("video", "BUNDLE", "-", "x.mp4", "-o", "out"), "- stands for the video on standard input: give it alone"),
    (("video", "BUNDLE", "x.mp4", "y.mp4", "-o", "-", "--domain", "0"), "-o - writes one video, and several sources"),
    (("morph", "BUNDLE", "x.png", "-o", "a.mp4", "--seeds", "1,2", "--container", "mkv"), "--container is for -o -"),
    (("train", "in", "-o", "-"), "--out cannot be -, which means standard output"),
    (("export", "x.png", "-o", "-"), "--out cannot be -, which means standard output"),
    (("export", "-", "-o", "out"), "CHECKPOINT cannot be -, which means standard input"),
    (("plot", "in", "-o", "-"), "--out cannot be -, which means standard output"),
    (("dataset", "make", "-o", "-"), "--out cannot be -, which means standard output"),
    (("dataset", "check", "-"), "DIR cannot be -, which means standard input"),
    (("build", "-"), "BUNDLE cannot be -, which means standard input"),
    (("inspect", "-"), "cannot be -, which means standard input"),
    (("bench", "BUNDLE", "-o", "-"), "--out cannot be -, which means standard output"),
    (("demo", "-o", "-"), "--out cannot be -, which means standard output"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")  # fmt: skip
def test_what_a_pipe_cannot_be_is_one_sentence(tmp_path, tiny_bundle, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "x.png", _draw_image())
    write_image(tmp_path / "y.png", _draw_image())
    (tmp_path / "in").mkdir()
    (tmp_path / "list.txt").write_text("x.png\ny.png\n", encoding="utf-8")
    there = sorted(tmp_path.iterdir())
    words = [str(tiny_bundle) if word == "BUNDLE" else word for word in arguments]
    result = CliRunner().invoke(root, words, standalone_mode=False)
    assert isinstance(result.exception, StarcastError)
    assert result.exception.exit_status == 2
    assert sentence in str(result.exception)
    assert result.stdout == ""
    assert sorted(tmp_path.iterdir()) == there


def test_a_file_called_dash_is_one_with_its_folder(tmp_path, tiny_bundle):
    (tmp_path / "-").write_bytes(_png(_draw_image()))
    result = _starcast("translate", tiny_bundle, "./-", "-o", "./out", "--domain", "0", cwd=tmp_path)
    assert result.returncode == 0
    assert (tmp_path / "out/-.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="shells are Unix's")
def test_a_reader_that_leaves_is_no_error(tmp_path, tiny_bundle):
    write_image(tmp_path / "x.png", np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8))
    command = f"'{sys.executable}' -m starcast translate '{tiny_bundle}' x.png -o - --fit native --domain 0"
    result = subprocess.run(
        ["bash", "-c", f"{command} | head -c 10; echo ${{PIPESTATUS[0]}}"], cwd=tmp_path, capture_output=True
    )
    assert result.stdout.startswith(b"\x89PNG")
    assert result.stdout.endswith(b"141\n")
    assert b"Traceback" not in result.stderr
    assert b"Error" not in result.stderr


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="terminals are Unix's")
@pytest.mark.parametrize(("end", "arguments", "sentence"), [
    ("stdin", ("-", "-o", "out.png"), "standard input is a terminal"),
    ("stdout", ("x.png", "-o", "-"), "standard output is a terminal"),
])  # fmt: skip
def test_a_terminal_is_no_pipe(tmp_path, tiny_bundle, end, arguments, sentence):
    write_image(tmp_path / "x.png", _draw_image())
    leader, terminal = os.openpty()
    try:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, end: terminal}
        result = _starcast("translate", tiny_bundle, *arguments, "--domain", "0", cwd=tmp_path, **streams)
    finally:
        os.close(leader)
        os.close(terminal)
    assert result.returncode == 2
    assert sentence in result.stderr.decode()
