"""`starcast align` of a video: the face's square in each frame, with the sound, each at its own time."""

import av
import numpy as np
import pytest
from drawn_sight import FACE, GREY, HEIGHT, WIDTH, open_drawn_files, scene

from starcast.cli import main
from starcast.errors import OptionError
from starcast.runtime.faces import opening
from starcast.runtime.faces.options import AlignOptions
from starcast.runtime.record import read_runs
from starcast.runtime.video import align
from starcast.runtime.video.align import align_video

QUIET = {"progress": lambda line: None}
CODING = 3  # grey levels that two encodings and two colour conversions may cost


@pytest.fixture
def drawn_sight(monkeypatch):
    monkeypatch.setattr(align, "open_face_files", open_drawn_files)


def options(**changes):
    return AlignOptions(**{"preset": "ultrafast", "crf": 1, "size": 64, **changes})


def make(make_clip, lefts, **changes):
    return make_clip(
        "in.mp4", frames=len(lefts), width=WIDTH, height=HEIGHT, images=[scene(left) for left in lefts], **changes
    )


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


@pytest.mark.usefixtures("drawn_sight")
def test_the_face_fills_every_frame_and_sound_and_times_are_kept(make_clip, watch, tmp_path):
    clip = make(make_clip, [20 + 3 * number for number in range(20)], sounds=("aac",))
    report = align_video(clip, tmp_path / "out.mp4", options(), **QUIET)
    assert (report.frames, report.faceless, report.failed) == (20, 0, [])
    before, after = watch(clip), watch(tmp_path / "out.mp4")
    assert after.times == before.times
    assert after.samples == before.samples
    for frame in frames_of(tmp_path / "out.mp4"):
        assert frame.shape == (64, 64, 3)
        assert np.abs(frame[8:56, 8:56] - FACE).max() <= CODING


@pytest.mark.usefixtures("drawn_sight")
def test_a_frame_without_a_face_shows_the_place_where_it_was(make_clip, tmp_path):
    lines = []
    clip = make(make_clip, [40] * 12 + [None] * 12)
    report = align_video(clip, tmp_path / "out.mp4", options(), progress=lines.append)
    assert lines[-1].startswith("no face was found in 12 of 24 frames: they show the place where it was last")
    assert report.failed == []
    assert np.abs(frames_of(tmp_path / "out.mp4")[-1][8:56, 8:56] - GREY).max() <= CODING
    [run] = read_runs(tmp_path / "out.mp4.json")
    assert run["counts"] == {"frames": 24, "damaged": 0, "without_face": 12}


@pytest.mark.usefixtures("drawn_sight")
def test_a_video_without_any_face_fails_and_the_sentence_says_what_it_shows(make_clip, tmp_path):
    report = align_video(make(make_clip, [None] * 3), tmp_path / "out.mp4", options(), **QUIET)
    [sentence] = report.failed
    assert sentence.startswith("no face was found in ")
    assert sentence.endswith(": its frames show their middle")
    assert {frame.shape for frame in frames_of(tmp_path / "out.mp4")} == {(64, 64, 3)}


@pytest.mark.usefixtures("drawn_sight")
def test_the_same_command_finds_its_video_and_another_one_does_not_replace_it(make_clip, tmp_path):
    clip, target = make(make_clip, [40] * 5), tmp_path / "out.mp4"
    align_video(clip, target, options(), **QUIET)
    assert align_video(clip, target, options(), **QUIET).is_there_already
    for changes in ({"steady": False}, {"size": 32}):
        with pytest.raises(OptionError, match="exists"):
            align_video(clip, target, options(**changes), **QUIET)


@pytest.mark.usefixtures("drawn_sight")
def test_the_command_takes_a_video_if_its_output_is_one(make_clip, tmp_path, capsys):
    clip = make(make_clip, [40] * 3)
    with pytest.raises(SystemExit) as ended:
        main(["align", str(clip), "-o", str(tmp_path / "out.mkv"), "--size", "32", "--preset", "ultrafast"])
    assert ended.value.code == 0
    assert "out.mkv: 3 frames" in capsys.readouterr().out


def test_without_detector_and_landmarks_one_sentence_says_what_is_missing(make_clip, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "weights", lambda: None)
    with pytest.raises(OptionError, match=r"no face detector is installed: pip install .*; or give --landmarks"):
        align_video(make(make_clip, [40]), tmp_path / "out.mp4", options(), **QUIET)


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV writes no display matrix")
@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.usefixtures("drawn_sight")
def test_a_rotated_film_is_aligned_as_it_is_shown(make_clip, tmp_path, degrees):
    stored = [np.ascontiguousarray(np.rot90(scene(left), -degrees // 90)) for left in (20, 26, 32, 38)]
    height, width = stored[0].shape[:2]
    clip = make_clip("in.mp4", frames=4, height=height, width=width, images=stored, rotation=float(degrees))
    report = align_video(clip, tmp_path / "out.mp4", options(), **QUIET)
    assert (report.frames, report.faceless, report.failed) == (4, 0, [])
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [frame.rotation for frame in container.decode(video=0)] == [0] * 4  # upright, and marked as upright
    for frame in frames_of(tmp_path / "out.mp4"):
        assert frame.shape == (64, 64, 3)
        assert np.abs(frame[8:56, 8:56] - FACE).max() <= CODING


@pytest.mark.usefixtures("drawn_sight")
def test_a_pattern_or_a_list_that_names_one_video_stands_for_it(make_clip, tmp_path):
    clip = make(make_clip, [40] * 2)
    (tmp_path / "films.txt").write_text(str(clip), encoding="utf-8")
    for number, source in enumerate((clip.parent / "i*.mp4", tmp_path / "films.txt")):
        target = tmp_path / "out" / f"{number}.mp4"
        target.parent.mkdir(exist_ok=True)
        assert align_video(source, target, options(), **QUIET).frames == 2
        assert read_runs(tmp_path / "out" / f"{number}.mp4.json")[0]["sources"] == [str(clip)]


@pytest.mark.usefixtures("drawn_sight")
def test_a_pattern_that_names_several_videos_or_none_says_so(make_clip, tmp_path):
    folder = make(make_clip, [40] * 2).parent
    (folder / "two.mp4").write_bytes((folder / "in.mp4").read_bytes())
    with pytest.raises(
        OptionError, match=r"mp4 names 2 videos, but .*out.mov takes one: .*in.mp4 with -o .*in-aligned.mov"
    ):
        align_video(folder / "*.mp4", tmp_path / "out.mov", options(), **QUIET)
    with pytest.raises(OptionError, match=r"x\*.mp4 matches nothing: check the pattern"):
        align_video(folder / "x*.mp4", tmp_path / "out.mov", options(), **QUIET)
