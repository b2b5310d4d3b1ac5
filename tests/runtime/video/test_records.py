"""The record beside a film: nobody else's file is replaced by it, and nothing is lost for its sake."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from starcast.errors import OptionError, VideoError
from starcast.hold import hold
from starcast.images.write import write_image
from starcast.runtime.faces.options import AlignOptions
from starcast.runtime.record import read_runs
from starcast.runtime.video import film_record
from starcast.runtime.video.morph import morph
from starcast.runtime.video.options import MorphOptions, VideoOptions
from starcast.runtime.video.translate import translate_video

QUIET = {"progress": lambda line: None}

FOREIGN = {
    "a photo service's": lambda path: path.write_text('{"geoData": 1}'),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link": lambda path: path.symlink_to("elsewhere.json"),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_record_that_is_not_ours_is_refused_before_the_work(
    make_clip, tiny_bundle, tmp_path, monkeypatch, verb, kind, overwrite
):
    if kind == "a pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    record = tmp_path / "out.mp4.json"
    FOREIGN[kind](record)
    before = record.lstat()
    monkeypatch.setattr("starcast.runtime.translator.Translator.__init__", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(OptionError, match=r"out\.mp4\.json .*choose another -o"):
        film(verb, make_clip, tiny_bundle, tmp_path / "out.mp4", overwrite=overwrite)
    assert (record.lstat().st_mtime_ns, record.lstat().st_mode) == (before.st_mtime_ns, before.st_mode)
    assert not (tmp_path / "out.mp4").exists()


def film(verb, make_clip, bundle, target, level=128, **changes):
    """A film by either verb, the shortest there is, from grey of this level."""
    grey = np.full((48, 64, 3), level, np.uint8)
    if verb == "video":
        settings = VideoOptions(**{"domain": "dog", "seed": 3, "preset": "ultrafast", **changes})
        return translate_video(bundle, make_clip("in.mp4", frames=2, images=[grey, grey]), target, settings, **QUIET)
    image = (target.parent if target.parent.is_dir() else Path()) / "in.png"
    write_image(image, grey)
    settings = MorphOptions(
        **{"domain": "dog", "seeds": ("1",), "frames_per_step": 3, "preset": "ultrafast", **changes}
    )
    return morph(bundle, image, target, settings, **QUIET)


@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_name_that_leaves_no_room_for_the_records_is_refused_before_the_work(make_clip, tiny_bundle, tmp_path, verb):
    target = tmp_path / ("a" * 250 + ".mp4")  # 254 bytes of 255: a film could be written, its record could not
    with pytest.raises(OptionError, match=r"file name too long.*choose another -o"):
        film(verb, make_clip, tiny_bundle, target)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("in.")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_pipe_in_the_way_of_a_film_stays_even_with_overwrite(make_clip, tiny_bundle, tmp_path, verb):
    os.mkfifo(tmp_path / "out.mp4")
    with pytest.raises(OptionError, match=r"out\.mp4 is a pipe, a socket or a device"):
        film(verb, make_clip, tiny_bundle, tmp_path / "out.mp4", overwrite=True)
    assert (tmp_path / "out.mp4").is_fifo()


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.fixture
def killed_before_the_record(monkeypatch):
    """A context in which films are made, and the process dies before their record is written."""

    @contextmanager
    def kill():
        def die(*arguments, **keywords):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(film_record, "write_record", die)
            with suppress(Killed):
                yield
                pytest.fail("not killed")

    return kill


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.m4v"])
@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_film_killed_before_its_record_gets_one_from_the_same_command(
    make_clip, tiny_bundle, tmp_path, monkeypatch, killed_before_the_record, verb, name
):
    target = tmp_path / name
    with killed_before_the_record():
        film(verb, make_clip, tiny_bundle, target)
    content, record = target.read_bytes(), tmp_path / f"{name}.json"
    assert not record.exists()
    monkeypatch.setattr("starcast.runtime.translator.Translator.__init__", lambda *a, **k: pytest.fail("worked"))
    report = film(verb, make_clip, tiny_bundle, target)
    assert report.is_there_already
    assert "is there already" in report.summary()
    assert target.read_bytes() == content
    (run,) = read_runs(record)
    assert run["counts"]["frames"] == {"video": 2, "morph": 1 * 3}[verb]
    assert "finished" in run


@pytest.mark.parametrize("verb", ["video", "morph"])
def test_an_overwritten_film_killed_before_its_record_does_not_keep_the_old_one(
    make_clip, tiny_bundle, tmp_path, killed_before_the_record, verb
):
    target, record = tmp_path / "out.mp4", tmp_path / "out.mp4.json"
    film(verb, make_clip, tiny_bundle, target, psi=0.25)
    with killed_before_the_record():
        film(verb, make_clip, tiny_bundle, target, psi=0.75, overwrite=True)
    assert [run["styles"][0]["psi"] for run in read_runs(record)] == [0.25]
    film(verb, make_clip, tiny_bundle, target, psi=0.75)
    assert [run["styles"][0]["psi"] for run in read_runs(record)] == [0.25, 0.75]


@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_film_made_in_another_way_is_in_the_way(make_clip, tiny_bundle, tmp_path, verb):
    target = tmp_path / "out.mp4"
    film(verb, make_clip, tiny_bundle, target)
    content = target.read_bytes()
    for changes in ({"psi": 0.5}, {"crf": 30}, {"fit": "pad"}):
        with pytest.raises(OptionError, match=r"out\.mp4 already exists.*--overwrite"):
            film(verb, make_clip, tiny_bundle, target, **changes)
    assert target.read_bytes() == content
    assert len(read_runs(tmp_path / "out.mp4.json")) == 1
    assert film(verb, make_clip, tiny_bundle, target, threads=1).is_there_already


@pytest.mark.parametrize("verb", ["video", "morph"])
def test_a_film_whose_source_was_edited_is_made_again(make_clip, watch, tiny_bundle, tmp_path, verb):
    target = tmp_path / "out.mp4"
    film(verb, make_clip, tiny_bundle, target)
    before = watch(target).levels[0]
    assert not film(verb, make_clip, tiny_bundle, target, level=60).is_there_already
    assert watch(target).levels[0] == pytest.approx(before - (128 - 60), abs=4)
    assert len(read_runs(tmp_path / "out.mp4.json")) == 1


def test_numbered_images_that_grew_are_an_edited_source(tiny_bundle, tmp_path):
    (tmp_path / "in").mkdir()
    options = VideoOptions(domain="dog", seed=3)
    reports, lines = [], []
    for number in (1, 2):
        write_image(tmp_path / f"in/{number:02d}.png", np.full((32, 32, 3), 128, np.uint8))
        report = translate_video(
            tiny_bundle, tmp_path / "in", tmp_path / "out_%02d.png", options, progress=lines.append
        )
        reports.append(report.frames)
    assert reports == [1, 2]
    assert f"{tmp_path / 'in'} was edited since out_%02d.png was made: it is made again" in lines


def test_a_record_that_cannot_be_written_costs_no_film(make_clip, watch, tiny_bundle, tmp_path, monkeypatch):
    def refuse(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("starcast.runtime.record.write_text", refuse)
    report = film("video", make_clip, tiny_bundle, tmp_path / "out.mp4")
    assert len(watch(tmp_path / "out.mp4").times) == 2
    (sentence,) = report.failed
    assert sentence.endswith("the same command again once it can")
    assert "out.mp4.json cannot be written (no space left on device)" in sentence


@pytest.mark.parametrize("verb", ["video", "morph"])
def test_two_films_are_not_made_at_one_place_at_once(make_clip, tiny_bundle, tmp_path, verb):
    target = tmp_path / "out.mp4"
    errors = []

    def second():
        try:
            film(verb, make_clip, tiny_bundle, target, overwrite=True)
        except OptionError as error:
            errors.append(str(error))

    with hold(target):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    (sentence,) = errors
    assert "out.mp4 is being written by another starcast" in sentence
    assert not target.exists()


@pytest.mark.parametrize(("target", "says"), [
    ("-", r"written to a file only, not to -: give -o the name of a file"),
    ("https://example.org/out.mp4", r"written to a file only, not to https:/+example\.org/out\.mp4"),
    ("folder", r"folder is a folder: give -o the name of a file, such as folder.in\.mp4"),
    ("folder.mp4", r"folder\.mp4 is a folder: give -o the name of a file"),
])  # fmt: skip
@pytest.mark.parametrize("verb", ["video", "morph"])
def test_an_output_that_is_no_file_is_refused_for_what_it_is(
    make_clip, tiny_bundle, tmp_path, monkeypatch, verb, target, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OptionError, match=says):
        film(verb, make_clip, tiny_bundle, Path(target))
    made = {path.name for path in tmp_path.iterdir() if not path.name.startswith("in.")}
    assert made == {"folder", "folder.mp4"}


def test_a_url_as_the_source_is_called_one(tiny_bundle, tmp_path):
    settings = VideoOptions(domain="dog")
    with pytest.raises(OptionError, match="is a URL, and only files on this machine are opened"):
        translate_video(tiny_bundle, Path("https://example.org/in.mp4"), tmp_path / "out.mp4", settings, **QUIET)


@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize("limit", [0, 3_000, 30_000, 60_000])
def test_a_full_disk_costs_one_sentence_and_leaves_nothing(make_clip, tiny_bundle, tmp_path, target, limit):
    resource = pytest.importorskip("resource", reason="file size limits are a matter of Unix")
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    clip = make_clip("in.mp4", frames=30, images=list(noise), sounds=("aac",))
    settings = VideoOptions(domain="dog", preset="ultrafast", crf=1, fit="native")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(VideoError) as raised:
            translate_video(tiny_bundle, clip, tmp_path / target, settings, **QUIET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(raised.value) == (
        f"{tmp_path / target} cannot be written (file too large): free some disk space, or choose another -o"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


# the settings in the marks of existing films
MARKS_OF_FILMS = [
    (VideoOptions(), None, "23f9a55b3009a449"),
    (
        VideoOptions(metadata=False, domain="dog", seed=3, crf=20, align=True, faces="all", steady=False),
        {"a": "b"},
        "a4bfbc5514631b22",
    ),
    (MorphOptions(seeds=("1-3",), domain="all"), None, "9e97ef65ad3122bb"),
    (MorphOptions(refs=("a.jpg",), official=True, fps="60"), None, "5e33e11e0e36c08d"),
    (AlignOptions(), None, "3c7a62e261e9330c"),
    (AlignOptions(size=128, metadata=False), None, "0644d31cf63f5658"),
]


@pytest.mark.parametrize(("settings", "faces", "mark"), MARKS_OF_FILMS)
def test_the_marks_of_existing_films_stay_when_options_are_added(tmp_path, settings, faces, mark):
    record = film_record.FilmRecord(tmp_path / "out.mp4", [], None, settings, [], faces)
    assert record.mark.split()[1] == f"settings={mark}"
