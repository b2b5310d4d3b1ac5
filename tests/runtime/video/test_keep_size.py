"""`video --keep-size` and `--roi`: the translation is put back into the frame, at the video's own size."""

from fractions import Fraction

import av
import numpy as np
import pytest

from starcast.errors import OptionError
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video

QUIET = {"progress": lambda line: None}
CODING = 3  # grey levels that two encodings and two colour conversions may cost


def options(**changes):
    return VideoOptions(**{"domain": "dog", "seed": 3, "preset": "ultrafast", "crf": 1, "batch": 4, **changes})


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


@pytest.mark.parametrize(("clip", "size"), [
    ({"height": 48, "width": 80}, (48, 80)),
    ({"height": 80, "width": 46}, (80, 46)),
    ({"height": 48, "width": 64, "sample_aspect": Fraction(2)}, (48, 128)),
    ({"height": 48, "width": 64, "rotation": 90.0}, (64, 48)),
    ({"height": 48, "width": 64, "rotation": 180.0}, (48, 64)),
    ({"height": 48, "width": 64, "rotation": 270.0, "sample_aspect": Fraction(3, 2)}, (96, 48)),
], ids=["wide", "tall", "wide pixels", "turned by 90", "turned by 180", "turned, wide pixels"])  # fmt: skip
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "native"])
def test_the_film_has_the_upright_size_and_the_part_is_translated(
    make_clip, tiny_bundle, offset_of, tmp_path, clip, size, fit
):
    before = make_clip("in.mp4", frames=3, **clip)
    report = translate_video(tiny_bundle, before, tmp_path / "out.mp4", options(fit=fit, keep_size=True), **QUIET)
    frames = frames_of(tmp_path / "out.mp4")
    assert (report.frames, len(frames)) == (3, 3)
    height, width = size
    for number, frame in enumerate(frames):
        assert frame.shape[:2] == size
        source = 32 + 16 * number
        translated = np.clip(source + offset_of("dog", 3), 0, 255)
        assert np.abs(frame[height // 2, width // 2] - translated).max() <= CODING
        rest = source if fit == "crop" else translated
        for row, column in ((1, 1), (height - 2, width - 2)):
            assert np.abs(frame[row, column] - rest).max() <= CODING


@pytest.mark.parametrize("fit", ["crop", "native"])
def test_only_the_part_of_the_upright_frame_changes(make_clip, tiny_bundle, offset_of, tmp_path, fit):
    clip = make_clip("in.mp4", frames=2, height=64, width=48, rotation=90.0)  # shown as 64 x 48
    wanted = options(roi=("32", "0", "32", "75%"), feather=0, fit=fit)
    translate_video(tiny_bundle, clip, tmp_path / "out.mp4", wanted, **QUIET)
    changed = np.abs(frames_of(tmp_path / "out.mp4")[0] - 32).max(axis=2) > np.abs(offset_of("dog", 3)).max() / 2
    part = np.zeros((48, 64), bool)
    top = 2 if fit == "crop" else 0  # the 32 x 32 pixels in the middle of 36 x 32
    part[top : 36 - top, 32:] = True
    assert np.array_equal(changed[::4, ::4], part[::4, ::4])


def test_a_part_outside_is_refused_before_an_engine_is_opened(make_clip, tiny_bundle, tmp_path, monkeypatch):
    from starcast.runtime.video import film_maker

    monkeypatch.setattr(film_maker, "Translator", None)
    with pytest.raises(OptionError, match=r"outside the frames of .*in\.mp4, which are 64x48 pixels"):
        translate_video(
            tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(roi=("40", "0", "32", "32")), **QUIET
        )
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"keep_size": True}, "--align keeps the video's size anyway"),
    ({"roi": ("0", "0", "9", "9")}, "--align and --roi exclude each other"),
])  # fmt: skip
def test_align_is_a_geometry_of_its_own(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        options(align=True, **changes)


def test_the_summary_has_the_time_of_composing(make_clip, tiny_bundle, tmp_path):
    target = tmp_path / "out.mp4"
    report = translate_video(tiny_bundle, make_clip("in.mp4", frames=2), target, options(keep_size=True), **QUIET)
    assert list(report.stage_ms()) == ["decode", "fit", "run", "compose", "encode"]
