"""`video` and `morph` write animations, and know their own again."""

from __future__ import annotations

import pytest

from starcast.errors import OptionError
from starcast.runtime.video.morph import morph
from starcast.runtime.video.options import MorphOptions, VideoOptions
from starcast.runtime.video.output.animation_mark import count_images
from starcast.runtime.video.translate import translate_video


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_a_finished_animation_is_left_alone_and_a_strangers_is_refused(tiny_bundle, make_clip, tmp_path, suffix):
    clip, out = make_clip("a.mp4", frames=5, sounds=("aac",)), tmp_path / f"out{suffix}"
    options = VideoOptions(domain="dog", seed=3, backend="onnxruntime")
    lines: list[str] = []
    report = translate_video(tiny_bundle, clip, out, options, progress=lines.append)
    assert report.frames == count_images(out) == 5
    assert f"{suffix} holds frames alone, without the source's sound" in lines
    before = out.read_bytes()
    assert translate_video(tiny_bundle, clip, out, options, progress=lines.append).is_there_already
    assert out.read_bytes() == before
    with pytest.raises(OptionError, match="exists"):
        translate_video(tiny_bundle, clip, out, VideoOptions(domain="cat", seed=3), progress=lines.append)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("a.mp4", out.name, f"{out.name}.json")]


def test_morph_loops_as_a_gif(tiny_bundle, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "me.png")
    options = MorphOptions(domain="dog", seeds=("1-2",), frames_per_step=4, backend="onnxruntime", fps="20")
    morph(tiny_bundle, tmp_path / "me.png", tmp_path / "loop.gif", options, progress=lambda line: None)
    with Image.open(tmp_path / "loop.gif") as film:
        assert (film.n_frames, film.info["loop"]) == (8, 0)
        assert film.info["duration"] == 50
