"""The whole of `starcast video`, with a bundle whose translations can be worked out."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from starcast.errors import BundleError, OptionError, VideoError
from starcast.runtime.record import read_runs
from starcast.runtime.video import model_stages, pipeline
from starcast.runtime.video.input.source import Source
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output import sink
from starcast.runtime.video.translate import translate_video

QUIET = {"progress": lambda line: None}
CODING = 3  # grey levels that two encodings and two colour conversions may cost


def options(**changes):
    return VideoOptions(**{"domain": "dog", "seed": 3, "preset": "ultrafast", "crf": 1, "batch": 4, **changes})


def leftovers(folder: Path) -> list[str]:
    """Everything in a folder but the sources."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("in."))


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_every_frame_is_translated_at_its_own_time(
    make_clip, watch, tiny_bundle, tiny_model, offset_of, tmp_path, batch
):
    uneven = [0, 3600, 4950, 10800, 11970, 30000, 30001, 30010, 40000, 60000, 60500]
    clip = make_clip("in.mp4", frames=11, pts=uneven, time_base=Fraction(1, 90000), sounds=("aac",))
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(batch=batch), **QUIET)
    before, after = watch(clip), watch(tmp_path / "out.mp4")
    assert report.frames == 11
    assert report.failed == []
    assert after.times == before.times
    assert after.samples == before.samples
    expected = np.clip(np.array(before.middle, dtype=float) + offset_of("dog", 3), 0, 255)
    assert np.abs(np.array(after.middle) - expected).max() <= CODING


def test_the_output_has_the_models_size(make_clip, watch, tiny_bundle, tmp_path):
    translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(), **QUIET)
    seen = watch(tmp_path / "out.mp4").video
    assert (seen["height"], seen["width"], seen["colorspace"], seen["color_range"]) == (32, 32, 1, 1)


@pytest.mark.parametrize(("fit", "left"), [("crop", 130), ("pad", 0), ("stretch", 130)])
def test_fit_says_what_becomes_of_the_sides(make_clip, tiny_bundle, offset_of, tmp_path, fit, left):
    import av

    image = np.full((48, 96, 3), 130, np.uint8)
    clip = make_clip("in.mp4", frames=1, width=96, images=[image])
    translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(fit=fit), **QUIET)
    with av.open(str(tmp_path / "out.mp4")) as container:
        top = next(container.decode(video=0)).to_ndarray(format="rgb24")[2, 16]
    assert np.abs(top - np.clip(left + offset_of("dog", 3), 0, 255)).max() <= 2 * CODING


@pytest.mark.parametrize(("clip", "height", "width"), [
    ({"height": 48, "width": 64}, 48, 64),
    ({"height": 46, "width": 62}, 46, 62),
    ({"height": 48, "width": 64, "sample_aspect": Fraction(2)}, 48, 128),
    ({"height": 48, "width": 64, "rotation": 90.0}, 64, 48),
], ids=["multiples", "others", "wide pixels", "turned"])  # fmt: skip
def test_native_frames_keep_the_size_that_they_are_shown_at(
    make_clip, watch, tiny_bundle, offset_of, tmp_path, clip, height, width
):
    before = make_clip("in.mp4", **clip)
    report = translate_video(tiny_bundle, before, tmp_path / "out.mp4", options(fit="native"), **QUIET)
    seen = watch(tmp_path / "out.mp4")
    assert (report.frames, seen.video["height"], seen.video["width"]) == (12, height, width)
    expected = np.clip(np.array(watch(before).middle, dtype=float) + offset_of("dog", 3), 0, 255)
    assert np.abs(np.array(seen.middle) - expected).max() <= CODING


def test_a_record_beside_the_video_says_how_to_make_it_again(make_clip, tiny_bundle, tmp_path):
    translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(psi=0.5), **QUIET)
    (run,) = read_runs(tmp_path / "out.mp4.json")
    assert run["styles"] == [{**run["styles"][0], "domain": "dog", "seed": 3, "psi": 0.5}]
    assert run["options"]["crf"] == 1
    assert run["counts"]["frames"] == 12
    assert len(run["bundle"]["sha256"]) == 64


def test_the_summary_has_frames_seconds_and_milliseconds_a_stage(make_clip, tiny_bundle, tmp_path):
    report = translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(), **QUIET)
    assert set(report.stage_ms()) == {"decode", "fit", "run", "encode"}
    assert all(ms > 0 for ms in report.stage_ms().values())
    assert "out.mp4: 12 frames in " in report.summary()
    assert "frames/s" in report.summary()


def test_a_cut_video_is_translated_as_far_as_it_goes_and_that_is_said(make_clip, watch, tiny_bundle, tmp_path):
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    clip = make_clip("in.mkv", frames=100, images=images)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    lines: list[str] = []
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(), progress=lines.append)
    assert any("in.mkv ends early" in sentence for sentence in report.failed)
    assert set(report.failed) <= set(lines)
    assert len(watch(tmp_path / "out.mp4").times) == report.frames > 30


def test_what_is_there_stays_without_overwrite_and_goes_with_it(make_clip, watch, tiny_bundle, tmp_path):
    clip, target = make_clip("in.mp4"), tmp_path / "out.mp4"
    target.write_bytes(b"mine")
    with pytest.raises(OptionError, match=r"out\.mp4 already exists.*--overwrite"):
        translate_video(tiny_bundle, clip, target, options(), **QUIET)
    assert target.read_bytes() == b"mine"
    translate_video(tiny_bundle, clip, target, options(overwrite=True), **QUIET)
    assert len(watch(target).times) == 12


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_source_is_never_the_target(make_clip, tiny_bundle, tmp_path, overwrite):
    clip = make_clip("in.mp4")
    content = clip.read_bytes()
    (tmp_path / "in.link.mp4").symlink_to(clip)
    for target in (clip, tmp_path / "in.link.mp4"):
        with pytest.raises(OptionError, match="is the source itself"):
            translate_video(tiny_bundle, clip, target, options(overwrite=overwrite), **QUIET)
    assert clip.read_bytes() == content


@pytest.mark.parametrize("name", ["out", "out.avi", "out.flv"])
def test_a_name_without_a_known_container_is_refused(make_clip, tiny_bundle, tmp_path, name):
    with pytest.raises(OptionError, match=r"end its name in \.mp4, \.m4v, \.mov, \.mkv"):
        translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / name, options(), **QUIET)


def test_several_styles_are_too_many(make_clip, tiny_bundle, tmp_path):
    with pytest.raises(OptionError, match="one style, but 3 were asked for"):
        translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(domain="all"), **QUIET)


def test_nothing_is_written_where_the_bundle_or_the_source_is_bad(make_clip, tiny_bundle, tmp_path):
    clip, text = make_clip("in.mp4"), tmp_path / "in.txt"
    text.write_text("no video")
    with pytest.raises(BundleError):
        translate_video(tmp_path / "none", clip, tmp_path / "out.mp4", options(), **QUIET)
    with pytest.raises(VideoError):
        translate_video(tiny_bundle, text, tmp_path / "out.mp4", options(), **QUIET)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("room", "stage"), [(pipeline, "fit_frames"), (model_stages, "translate_frames")])
@pytest.mark.parametrize("error", [KeyboardInterrupt, VideoError, MemoryError])
def test_an_error_in_any_stage_ends_the_whole_and_leaves_nothing(
    make_clip, tiny_bundle, tmp_path, monkeypatch, room, stage, error
):
    original = getattr(room, stage)

    def failing(*arguments, **settings):
        for number, item in enumerate(original(*arguments, **settings)):
            if number == 20:
                raise error("in the middle")
            yield item

    monkeypatch.setattr(room, stage, failing)
    with pytest.raises(error, match="in the middle"):
        translate_video(
            tiny_bundle, make_clip("in.mp4", frames=60, sounds=("aac",)), tmp_path / "out.mp4", options(), **QUIET
        )
    assert leftovers(tmp_path) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("starcast-")]


def test_an_error_of_the_writer_leaves_the_old_file(make_clip, tiny_bundle, tmp_path, monkeypatch):
    (tmp_path / "out.mp4").write_bytes(b"old")
    original = sink.Sink.write
    calls = []

    def failing(self, item):
        calls.append(item)
        if len(calls) > 10:
            raise VideoError("out.mp4 cannot be written (no space left on device)")
        original(self, item)

    monkeypatch.setattr(sink.Sink, "write", failing)
    with pytest.raises(VideoError, match="no space left"):
        translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(overwrite=True), **QUIET)
    assert (tmp_path / "out.mp4").read_bytes() == b"old"
    assert leftovers(tmp_path) == ["out.mp4"]


def test_no_more_frames_are_held_than_the_queues_have_places(make_clip, tiny_bundle, tmp_path, monkeypatch):
    """Frames are counted in when they are decoded and out when they are written."""
    inside, most = [0], [0]
    read, write = Source.read, sink.Sink.write

    def counting_read(self, audio_to_decode):
        for item in read(self, audio_to_decode):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            yield item

    def counting_write(self, item):
        inside[0] -= 1
        write(self, item)

    monkeypatch.setattr(Source, "read", counting_read)
    monkeypatch.setattr(sink.Sink, "write", counting_write)
    translate_video(tiny_bundle, make_clip("in.mp4", frames=200), tmp_path / "out.mp4", options(), **QUIET)
    assert most[0] <= 3 * 8 + 2 * 4 + 4  # three queues, a batch waiting and one on its way out, one in each hand
