"""`starcast video --align`: faces are translated and put back; everything else of the film stays."""

from contextlib import contextmanager

import av
import numpy as np
import pytest
from drawn_sight import FACE, GREY, HEIGHT, WIDTH, DrawnFiles, open_drawn_files, scene

from starcast.errors import OptionError
from starcast.runtime.faces import opening
from starcast.runtime.record import read_runs
from starcast.runtime.translator import Translator
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video

QUIET = {"progress": lambda line: None}
CODING = 3  # grey levels that two encodings and two colour conversions may cost


@pytest.fixture(autouse=True)
def drawn_sight(monkeypatch):
    monkeypatch.setattr(opening, "open_face_files", open_drawn_files)


def options(**changes):
    return VideoOptions(**{
        "domain": "dog", "seed": 3, "preset": "ultrafast", "crf": 1, "batch": 4, "align": True, **changes
    })  # fmt: skip


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def make(make_clip, lefts, **changes):
    return make_clip(
        "in.mp4", frames=len(lefts), width=WIDTH, height=HEIGHT, images=[scene(left) for left in lefts], **changes
    )


@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_face_is_translated_and_the_rest_of_the_frame_stays(
    make_clip, watch, tiny_bundle, offset_of, tmp_path, steady, batch
):
    lefts = [20 + 3 * number for number in range(20)]
    clip = make(make_clip, lefts, sounds=("aac",))
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(steady=steady, batch=batch), **QUIET)
    assert (report.frames, report.faceless, report.failed) == (20, 0, [])
    assert list(report.seconds) == ["decode", "fit", "align", "run", "put back", "encode"]
    before, after = watch(clip), watch(tmp_path / "out.mp4")
    assert after.times == before.times
    assert after.samples == before.samples
    offset = offset_of("dog", 3)
    assert np.abs(offset).max() > 10
    for left, frame in zip(lefts, frames_of(tmp_path / "out.mp4"), strict=True):
        middle = frame[44:48, left + 14 : left + 18].mean(axis=(0, 1))
        assert np.abs(middle - np.clip(FACE + offset, 0, 255)).max() <= CODING + 2
        apart = np.r_[0 : max(0, left - 12), min(WIDTH, left + 44) : WIDTH]
        assert np.abs(frame[:, apart] - GREY).max() <= CODING


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV writes no display matrix")
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_faces_of_a_rotated_film_are_put_back_where_it_shows_them(make_clip, tiny_bundle, offset_of, tmp_path, degrees):
    lefts = [20, 26, 32, 38]
    stored = [np.ascontiguousarray(np.rot90(scene(left), -degrees // 90)) for left in lefts]
    height, width = stored[0].shape[:2]
    clip = make_clip("in.mp4", frames=4, height=height, width=width, images=stored, rotation=float(degrees))
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(), **QUIET)
    assert (report.frames, report.faceless, report.failed) == (4, 0, [])
    offset = offset_of("dog", 3)
    for left, frame in zip(lefts, frames_of(tmp_path / "out.mp4"), strict=True):
        assert frame.shape == (HEIGHT, WIDTH, 3)  # upright
        middle = frame[44:48, left + 14 : left + 18].mean(axis=(0, 1))
        assert np.abs(middle - np.clip(FACE + offset, 0, 255)).max() <= CODING + 2
        apart = np.r_[0 : max(0, left - 12), min(WIDTH, left + 44) : WIDTH]
        assert np.abs(frame[:, apart] - GREY).max() <= CODING


def test_frames_without_a_face_stay_and_are_counted(make_clip, tiny_bundle, tmp_path):
    lines = []
    clip = make(make_clip, [40] * 15 + [None] * 20 + [40] * 15)
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(), progress=lines.append)
    assert (report.faceless, report.failed) == (20, [])
    assert "no face was found in 20 of 50 frames: they are written unchanged" in lines
    assert all(np.abs(frame - GREY).max() <= CODING for frame in frames_of(tmp_path / "out.mp4")[15:35])
    [run] = read_runs(tmp_path / "out.mp4.json")
    assert run["counts"] == {"frames": 50, "damaged": 0, "without_face": 20}


def test_a_face_that_is_missing_from_two_frames_is_translated_there_too(make_clip, tiny_bundle, tmp_path):
    clip = make(make_clip, [40] * 15 + [None] * 2 + [40] * 15)
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(), **QUIET)
    assert report.faceless == 0


def test_a_film_without_any_face_is_written_and_named(make_clip, tiny_bundle, tmp_path):
    report = translate_video(tiny_bundle, make(make_clip, [None] * 5), tmp_path / "out.mp4", options(), **QUIET)
    assert [("no face was found in " in sentence) for sentence in report.failed] == [True]
    assert len(frames_of(tmp_path / "out.mp4")) == 5


def test_the_same_command_finds_its_film_and_another_one_does_not_replace_it(make_clip, tiny_bundle, tmp_path):
    clip, target = make(make_clip, [40] * 5), tmp_path / "out.mp4"
    translate_video(tiny_bundle, clip, target, options(), **QUIET)
    assert translate_video(tiny_bundle, clip, target, options(), **QUIET).is_there_already
    for changes in ({"steady": False}, {"faces": "all"}, {"align": False}):
        with pytest.raises(OptionError, match="exists"):
            translate_video(tiny_bundle, clip, target, options(**changes), **QUIET)


def test_with_other_landmarks_or_another_mean_or_detector_it_is_another_film(
    make_clip, tiny_bundle, tmp_path, monkeypatch
):
    clip, target = make(make_clip, [40] * 3), tmp_path / "out.mp4"
    named = {name: tmp_path / name for name in ("landmarks", "mean")}
    facts = {"landmarks": "1", "mean": "1", "detector": "1"}
    opened = []

    @contextmanager
    def open_files(landmarks, mean, bundle):
        opened.append({"landmarks": landmarks, "mean": mean})
        yield DrawnFiles(None, None, True, facts)

    monkeypatch.setattr(opening, "open_face_files", open_files)
    translate_video(tiny_bundle, clip, target, options(**named), **QUIET)
    assert opened == [named]
    [run] = read_runs(tmp_path / "out.mp4.json")
    assert run["faces"] == facts
    moved = {name: tmp_path / f"moved-{name}" for name in named}
    assert translate_video(tiny_bundle, clip, target, options(**moved), **QUIET).is_there_already
    for name in list(facts):
        facts[name] = "2"
        with pytest.raises(OptionError, match="exists"):
            translate_video(tiny_bundle, clip, target, options(**named), **QUIET)
        facts[name] = "1"


def test_options_that_would_have_no_effect_are_refused():
    with pytest.raises(OptionError, match="--align and --fit pad exclude each other"):
        options(fit="pad")
    with pytest.raises(OptionError, match="add --align"):
        options(align=False, faces="all")
    with pytest.raises(OptionError, match="add --align"):
        options(align=False, steady=False)


def test_many_faces_of_a_frame_are_translated_in_batches(make_clip, tiny_bundle, tmp_path, monkeypatch):
    sizes, call = [], Translator.__call__

    def counted(self, images, style):
        sizes.append(len(images))
        return call(self, images, style)

    monkeypatch.setattr(Translator, "__call__", counted)
    clip = make_clip("in.mp4", frames=2, width=WIDTH, height=HEIGHT, images=[scene(5, 45, 85, 125)] * 2)
    translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(faces="all", batch=2), **QUIET)
    assert sizes == [2] * 4


def test_faces_of_a_video_whose_attributes_would_be_those_of_the_first_are_refused(make_clip, label_bundle, tmp_path):
    clip = make(make_clip, [40])
    given = {"domain": None, "seed": None, "set": ("Male",), "faces": "all", "backend": "onnxruntime"}
    with pytest.raises(OptionError, match="attributes of the first one: give --has"):
        translate_video(label_bundle(reads=True), clip, tmp_path / "out.mp4", options(**given), **QUIET)
    report = translate_video(
        label_bundle(reads=True), clip, tmp_path / "out.mp4", options(**given, has=("Young",)), **QUIET
    )  # fmt: skip
    assert report.frames == 1
