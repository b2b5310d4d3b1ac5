"""What a film says about itself reaches the translation, or a line says that it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner

from starcast.cli import root
from starcast.errors import OptionError
from starcast.runtime.video.output.languages import codes_for

TARGETS = ["out.mp4", "out.m4v", "out.mov", "out.mkv"]
# what an iPhone and an Android phone write (`ffprobe -show_entries format_tags`)
IPHONE = {
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 15",
    "com.apple.quicktime.software": "17.4",
    "com.apple.quicktime.creationdate": "2024-05-01T10:00:00+0200",
    "com.apple.quicktime.location.ISO6709": "+52.5200+013.4000+040.000/",
    "creation_time": "2024-05-01T08:00:00.000000Z",
}
ANDROID = {
    "com.android.version": "14", "com.android.capture.fps": "30.000000", "location": "+52.5200+013.4000/",
    "creation_time": "2024-05-01T08:00:00.000000Z",
}  # fmt: skip
CAMERA = {"make": "Canon", "model": "EOS R5", "creation_time": "2024-05-01T08:00:00.000000Z", "title": "A walk"}
TITLES = {"title": "A walk", "artist": "Me", "comment": "In the rain", "date": "2024", "genre": "Walks"}


def write_film(path: Path, metadata: dict[str, str], *tracks: dict[str, str]) -> None:
    """A film of two frames with this metadata, and a track of sound for each of `tracks`, its own metadata."""
    options = {} if path.suffix == ".mkv" else {"movflags": "use_metadata_tags"}
    with av.open(str(path), "w", container_options=options) as container:
        container.metadata.update(metadata)
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds: list[Any] = [container.add_stream("aac", rate=48000, layout="mono") for _ in tracks]
        for sound, entries in zip(sounds, tracks, strict=True):
            sound.metadata.update(entries)
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        for sound in sounds:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 3840), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 48000, 0
            container.mux(sound.encode(silence))
        for stream in (video, *sounds):
            container.mux(stream.encode(None))


def _run(*arguments: object) -> str:
    """The output of a starcast command that succeeds."""
    result = CliRunner().invoke(root, [*map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert result.return_value == 0, result.output
    return result.output


def read_back(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {key.lower(): text for key, text in container.metadata.items()}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("metadata", [IPHONE, ANDROID, CAMERA, TITLES], ids=["iphone", "android", "camera", "titles"])
@pytest.mark.parametrize("source", ["a.mov", "a.mp4", "a.mkv"])
def test_what_a_camera_or_a_person_wrote_is_kept(passed_through, tmp_path, source, metadata, target):
    write_film(tmp_path / source, metadata)
    before = read_back(tmp_path / source)
    assert {key.lower(): text for key, text in metadata.items()}.items() <= before.items()
    assert passed_through(tmp_path / source, tmp_path / target).notes == []
    after = read_back(tmp_path / target)
    assert {key: after.get(key.lower()) for key in metadata} == metadata


def test_titles_stay_where_every_player_looks_for_them(passed_through, tmp_path):
    """In the entries that iTunes introduced, as long as those hold everything."""
    write_film(tmp_path / "a.mkv", TITLES)
    passed_through(tmp_path / "a.mkv", tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert b"\xa9nam" in content
    assert b"mdta" not in content


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", ["a.mkv", "a.mp4"])
def test_titles_and_languages_of_tracks_are_kept(passed_through, tmp_path, source, target):
    german, english = ("de", "en-GB") if source == "a.mkv" else ("deu", "eng")
    write_film(
        tmp_path / source, {}, {"title": "Kommentar", "language": german}, {"title": "Comments", "language": english}
    )
    assert passed_through(tmp_path / source, tmp_path / target).notes == []
    with av.open(str(tmp_path / target)) as container:
        tracks = [dict(stream.metadata) for stream in container.streams.audio]
    assert [track.get("title", track.get("name")) for track in tracks] == ["Kommentar", "Comments"]
    assert tracks[0]["language"] in ("de", "deu", "ger")
    assert tracks[1]["language"] in ("en-GB", "eng")


def test_what_the_container_cannot_keep_is_named(passed_through, tmp_path):
    write_film(tmp_path / "a.mkv", {"title": "A walk"}, {"microphone": "left lapel"})
    (note,) = passed_through(tmp_path / "a.mkv", tmp_path / "out.mp4").notes
    assert note == "out.mp4 does not keep this metadata of the source: MICROPHONE of stream 1"
    assert passed_through(tmp_path / "a.mkv", tmp_path / "out.mkv").notes == []


def test_codes_of_a_language_begin_with_its_own():
    """ISO 639: the Library of Congress lists German as de, ger (B) and deu (T)."""
    assert codes_for("de") == ["de", "deu", "ger"]
    assert codes_for("ger") == ["ger", "deu"]
    assert codes_for("de-AT") == ["de-AT", "deu", "ger"]
    assert codes_for("en_US") == ["en_US", "eng"]
    assert codes_for("und") == ["und"]
    assert codes_for("klingon") == ["klingon"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("metadata", [IPHONE, ANDROID, CAMERA, TITLES], ids=["iphone", "android", "camera", "titles"])
def test_without_metadata_nothing_of_it_and_no_title_is_in_the_film(passed_through, tmp_path, metadata, target):
    write_film(tmp_path / "a.mov", metadata, {"language": "fra", "title": "At Anna's"})
    assert passed_through(tmp_path / "a.mov", tmp_path / target, metadata=False).notes == []
    assert not set(metadata.values()) & set(read_back(tmp_path / target).values())
    content = (tmp_path / target).read_bytes()
    assert not [text for text in (*metadata.values(), "At Anna's") if len(text) > 3 and text.encode() in content]
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.audio[0].metadata["language"] in codes_for("fra")  # a player chooses sound by it


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
def test_without_metadata_there_are_no_chapters(make_clip, passed_through, tmp_path, target):
    clip = make_clip("a.mp4", metadata=(("title", "A walk"),), chapters=((0, 200, "Out"), (200, 480, "Home")))
    passed_through(clip, tmp_path / target, metadata=False)
    with av.open(str(tmp_path / target)) as container:
        assert container.chapters() == []
    content = (tmp_path / target).read_bytes()
    assert b"Home" not in content
    assert b"A walk" not in content


def test_video_has_the_flag_and_a_film_with_metadata_is_another_film(make_clip, tiny_bundle, tmp_path):
    source = make_clip("a.mp4", metadata=(("title", "A walk"),))
    video = ("video", tiny_bundle, source, "-o", tmp_path / "out.mp4", "--domain", "dog", "--seed", "7")
    _run(*video, "--no-metadata")
    assert b"A walk" not in (tmp_path / "out.mp4").read_bytes()
    assert "already" in _run(*video, "--no-metadata")
    with pytest.raises(OptionError, match="already"):
        _run(*video)


def test_a_film_of_an_earlier_version_whose_record_knows_no_such_flag_is_there(make_clip, tiny_bundle, tmp_path):
    video = ("video", tiny_bundle, make_clip("a.mp4"), "-o", tmp_path / "out.mp4", "--domain", "dog", "--seed", "7")
    _run(*video)
    record = tmp_path / "out.mp4.json"
    runs = json.loads(record.read_text(encoding="utf-8"))
    assert runs["runs"][-1]["options"].pop("metadata") is True
    text = json.dumps(runs)
    record.write_text(text, encoding="utf-8")
    assert "already" in _run(*video)
    assert record.read_text(encoding="utf-8") == text  # the record is recognised as this film's
