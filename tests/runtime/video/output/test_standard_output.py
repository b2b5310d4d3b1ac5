"""`video … -o -` and `morph … -o -` write a film to standard output, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import av
import pytest


def starcast(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "starcast", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize(("options", "suffix", "codec"), [((), "mkv", "h264"), (("--container", "gif"), "gif", "gif")])
def test_a_film_goes_to_standard_output_and_lines_to_standard_error(
    tiny_bundle, make_clip, tmp_path, options, suffix, codec
):
    clip = make_clip("a.mp4", frames=4)
    done = starcast("video", tiny_bundle, clip, "-o", "-", "--domain", "dog", "--backend", "onnxruntime", *options)
    assert done.returncode == 0, done.stderr
    (tmp_path / f"out.{suffix}").write_bytes(done.stdout)
    with av.open(str(tmp_path / f"out.{suffix}")) as film:
        assert film.streams.video[0].codec_context.name == codec
        assert sum(1 for _ in film.decode(video=0)) == 4
    assert b"standard output: 4 frames" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"a.mp4", f"out.{suffix}", "bundle"}


def test_a_container_without_standard_output_is_refused(tiny_bundle, make_clip, tmp_path):
    done = starcast("video", tiny_bundle, make_clip("a.mp4", frames=2), "-o", tmp_path / "o.mp4", "--container", "mkv",
                    "--domain", "dog")  # fmt: skip
    assert done.returncode == 2
    assert b"--container is for -o -, standard output" in done.stderr
    assert not (tmp_path / "o.mp4").exists()
