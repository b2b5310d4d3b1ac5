"""`video --start`, `--end` and `--fps`: a part of a film, with its sound, at a rate of its own."""

import shutil
import subprocess
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from drawn_sight import HEIGHT, WIDTH, open_drawn_files, scene
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.errors import OptionError, VideoError
from starcast.runtime.faces import opening
from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.input.film_view import FilmView
from starcast.runtime.video.input.orientation import UPRIGHT
from starcast.runtime.video.input.pace import Paced
from starcast.runtime.video.input.source import open_film
from starcast.runtime.video.input.trim import Trimmed
from starcast.runtime.video.input.trim_options import TrimOptions
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video

QUIET = {"progress": lambda line: None}
RATE = 48000
FLASH = 30  # the frame that is white, at 25 frames per second: 1.2 s


def options(**changes):
    return VideoOptions(**{
        "domain": "dog", "seed": 3, "preset": "ultrafast", "crf": 1, "batch": 4, "opacity": 0.0, **changes
    })  # fmt: skip


class Drawn(Film):
    """Frames at these times, in ticks; each is shown until the next, the last for a tick."""

    def __init__(self, times, time_base=Fraction(1, 1000), rate=Fraction(25)):
        self.name, self.rate, self.time_base, self.frames = "drawn", rate, time_base, len(times)
        self.shown_size, self.start_s = (2, 2), Fraction(5)
        self.lengths = [*(later - time for time, later in pairwise(times)), 1]
        self.times, self.is_closed = times, False

    def read(self, audio_to_decode=frozenset()):
        for number, (time, length) in enumerate(zip(self.times, self.lengths, strict=True)):
            yield Frame(SimpleNamespace(number=number), time, length, (2, 2), UPRIGHT)

    def close(self):
        self.is_closed = True


def shown(film: Film) -> list[tuple[int, int, int]]:
    return [(item.frame.number, item.pts, item.duration) for item in film.read()]


@pytest.fixture
def flash_and_beep(tmp_path):
    """make(name, codec): 60 frames, one of them white, and a beep that begins with it and lasts as long."""

    def make(name: str, sound: str) -> Any:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            video: Any = container.add_stream("libx264", rate=25, options={"crf": "1", "g": "12", "bf": "2"})
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            audio: Any = container.add_stream(sound, rate=RATE, layout="mono")
            for number in range(60):
                grey = np.full((48, 64, 3), 255 if number == FLASH else 40 + number, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(video.encode(frame))
            when = np.arange(60 * RATE // 25)
            wave = np.where(when // (RATE // 25) == FLASH, 16000 * np.sin(when * 2 * np.pi * 1000 / RATE), 0)
            for begin in range(0, len(wave), 1024):
                block = wave[begin : begin + 1024].astype(np.int16)[None]
                sound_frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                sound_frame.sample_rate, sound_frame.pts, sound_frame.time_base = RATE, begin, Fraction(1, RATE)
                container.mux(audio.encode(sound_frame))
            container.mux(video.encode(None))
            container.mux(audio.encode(None))
        return path

    return make


def flash_and_beep_in(path) -> tuple[list[Fraction], float, float, float]:
    """The times of the frames; when the flash and the beep begin, and when the sound ends, in seconds."""
    with av.open(str(path)) as container:
        frames = [(frame.pts * Fraction(frame.time_base), frame.to_ndarray(format="rgb24").mean())
                  for frame in container.decode(video=0)]  # fmt: skip
    with av.open(str(path)) as container:
        sounds = list(container.decode(audio=0))
    track = np.zeros(4 * RATE)
    for sound in sounds:
        begin = round(sound.pts * sound.time_base * RATE)
        values = sound.to_ndarray().reshape(-1).astype(float)
        track[max(0, begin) : begin + len(values)] = values[max(0, -begin) :] / (32768 if values.max() > 2 else 1)
        end = begin + len(values)
    flash = next(time for time, level in frames if level > 200)
    beep = int(np.argmax(np.abs(track) > 0.1)) / RATE
    return [time for time, _ in frames], float(flash), beep, end / RATE


@pytest.mark.parametrize(("name", "sound", "target"), [
    ("in.mp4", "aac", "out.mp4"), ("in.mkv", "aac", "out.mkv"), ("in.mkv", "flac", "out.mp4"),
    ("in.mov", "pcm_s16le", "out.mov"), ("in.mkv", "pcm_s16le", "out.mp4"), ("in.mp4", "aac", "out.webm"),
])  # fmt: skip
@pytest.mark.parametrize(("start", "end", "first", "last"), [
    ("0.5", "1.5", 13, 37),  # frame 13 is shown at 0.52 s, frame 37 at 1.48 s
    ("20f", "00:00:01.8", 20, 44), (None, "50f", 0, 49), ("1.1", None, 28, 59),
])  # fmt: skip
def test_sound_is_trimmed_with_the_frames(
    flash_and_beep, tiny_bundle, tmp_path, name, sound, target, start, end, first, last
):
    clip = flash_and_beep(name, sound)
    if target == "out.webm" and start != "0.5":
        pytest.skip("VP9 and Opus are slow: once is enough")
    translate_video(tiny_bundle, clip, tmp_path / target, options(start=start, end=end), **QUIET)
    begin = {"0.5": 0.5, "20f": 0.8, None: 0.0, "1.1": 1.1}[start]
    times, flash, beep, sound_end = flash_and_beep_in(tmp_path / target)
    assert len(times) == last - first + 1
    assert float(times[0]) == pytest.approx(first / 25 - begin, abs=0.0011)
    assert flash == pytest.approx(FLASH / 25 - begin, abs=0.0011)
    assert beep == pytest.approx(flash, abs=0.003)  # an encoder's attack; Matroska rounds to a millisecond
    ends = {"1.5": 1.5, "00:00:01.8": 1.8, "50f": 2.0, None: 2.4}[end]
    longest = 4608 if sound == "flac" else 1024  # samples of a packet, which cannot be cut
    assert sound_end == pytest.approx(ends - begin, abs=longest / RATE + 0.003)


def test_encoded_sound_is_exact_to_the_sample(tmp_path):
    """ALAC in, PCM-like steps: what is written begins and ends where it was asked to."""
    from starcast.runtime.video.output.sound import EncodedTrack

    with av.open(str(tmp_path / "in.mkv"), "w") as source, av.open(str(tmp_path / "out.mp4"), "w") as film:
        template = source.add_stream("pcm_s16le", rate=RATE, layout="mono")
        track: Any = EncodedTrack(film, template, Fraction(7))
        track.trim(Fraction(1, 2))
        written: list[Any] = []
        track.stream = SimpleNamespace(encode=lambda frame: written.append(frame) or [])
        for begin in range(0, RATE, 1000):
            block = np.full((1, 1000), begin // 1000, np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = 7 * RATE - 12345 + begin  # 12345 samples before the part
            track.write(frame)
        track.flush()
    sounds = [frame for frame in written if frame is not None]
    values = np.concatenate([np.rint(frame.to_ndarray().reshape(-1) * 32768) for frame in sounds])
    assert [sounds[0].pts, len(values)] == [0, RATE // 2]
    assert np.array_equal(values, (np.arange(RATE // 2) + 12345) // 1000)


def test_chapters_are_cut_and_moved(make_clip, tiny_bundle, tmp_path):
    chapters = ((0, 400, "before"), (400, 1000, "begins before"), (1000, 1400, "inside"), (1400, 2000, "ends later"))
    clip = make_clip("in.mkv", frames=50, chapters=chapters)
    translate_video(tiny_bundle, clip, tmp_path / "out.mkv", options(start="0.6", end="1.6"), **QUIET)
    with av.open(str(tmp_path / "out.mkv")) as container:
        kept = [
            (float(one["start"] * one["time_base"]), float(one["end"] * one["time_base"]), one["metadata"]["title"])
            for one in container.chapters()
        ]
    assert kept == [(0.0, 0.4, "begins before"), (0.4, 0.8, "inside"), (0.8, 1.0, "ends later")]


def test_a_frame_that_is_shown_for_long_begins_with_the_part():
    film = Drawn([0, 10_000, 20_000, 20_040])
    assert shown(Trimmed(film, Fraction(5), Fraction(20))) == [(0, 0, 5000), (1, 5000, 10_000)]
    assert shown(Trimmed(film, Fraction(2), Fraction(3))) == [(0, 0, 1000)]
    assert shown(Trimmed(film, Fraction(1995, 100), None)) == [(2, 50, 40), (3, 90, 1)]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 9000), min_size=1, max_size=40, unique=True).map(sorted),
    st.fractions(0, 9, max_denominator=97), st.fractions(Fraction(1, 10), 5, max_denominator=97),
)  # fmt: skip
def test_a_part_has_the_frames_of_its_time_at_their_distance(times, begin, length):
    film = Drawn(times)
    inside = [n for n, time in enumerate(times) if begin <= Fraction(time, 1000) < begin + length]
    try:
        kept = shown(Trimmed(film, begin, begin + length))
    except VideoError:
        kept = []
    numbers = [number for number, _, _ in kept]
    assert numbers in (inside, [*([inside[0] - 1] if inside else [0]), *inside], numbers[:1] if not inside else None)
    exact = [time for number, time, _ in kept if number in inside]
    assert all(
        abs(time - (times[number] - begin * 1000)) <= Fraction(1, 2) for number, time in zip(inside, exact, strict=True)
    )
    assert all(time >= 0 and time + lasts <= length * 1000 + 1 for _, time, lasts in kept)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=60, unique=True).map(sorted),
    st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(12), Fraction(60), Fraction(1, 2)]),
)  # fmt: skip
def test_each_output_frame_shows_the_last_one_whose_rounded_time_has_come(times, rate):
    paced = Paced(Drawn(times), rate)
    frames = shown(paced)
    places = [int(Fraction(time, 1000) * rate + Fraction(1, 2)) for time in times]
    end = int(Fraction(times[-1] + 1, 1000) * rate + Fraction(1, 2))
    assert [place for _, place, _ in frames] == list(range(places[0], max(end, places[0] + 1)))
    for number, place, lasts in frames:
        assert number == max(n for n, begins in enumerate(places) if begins <= place)
        assert lasts == 1
    assert paced.repeated == len(frames) - len({number for number, _, _ in frames})
    assert paced.dropped == len(times) - len({number for number, _, _ in frames})


def test_an_hour_does_not_drift():
    times = [round(Fraction(number * 1001, 24000) * 90000) for number in range(86_300, 86_313)]
    paced = Paced(Drawn(times, Fraction(1, 90000), Fraction(24000, 1001)), Fraction(30000, 1001))
    assert (paced.time_base, paced.rate) == (Fraction(1001, 30000), Fraction(30000, 1001))
    for number, place, _ in shown(paced):  # 3:2 pulldown: 5 frames for 4
        assert abs(place * Fraction(4, 5) - (86_300 + number)) <= Fraction(4, 5)


@pytest.mark.parametrize(("fps", "count", "note"), [
    ("50", 24, "50 frames per second: 0 frames are dropped, 12 frames are repeated"),
    ("12.5", 6, "12.5 frames per second: 6 frames are dropped, 0 frames are repeated"),
    ("25", 12, "25 frames per second: 0 frames are dropped, 0 frames are repeated"),
])  # fmt: skip
def test_a_film_gets_the_rate_and_says_what_that_took(make_clip, watch, tiny_bundle, tmp_path, fps, count, note):
    lines: list[str] = []
    target = tmp_path / "out.mp4"
    report = translate_video(tiny_bundle, make_clip("in.mp4"), target, options(fps=fps), progress=lines.append)
    film = watch(target)
    assert film.times == [number / Fraction(fps) for number in range(count)]
    assert report.frames == count
    assert any(note in line for line in lines)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"start": "x"}, "--start is x: give a time, such as"), ({"end": "-1"}, "--end is -1: give a time"),
    ({"end": "0"}, "--end 0 leaves nothing"), ({"start": "2", "end": "0:02"}, "--start 2 is not before --end 0:02"),
    ({"start": "9f", "end": "5f"}, "--start 9f is not before --end 5f"),
])  # fmt: skip
def test_a_range_that_is_none_is_refused(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        TrimOptions(**changes)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"start": "9"}, r"in\.mp4 is 0\.48 s long: give --start an earlier time than 9"),
    ({"start": "12f"}, r"in\.mp4 has only 12 frames, counted from 0: give --start an earlier one than 12f"),
    ({"start": "5f", "end": "0.1"}, r"--start 5f is not before --end 0\.1 in .*in\.mp4"),
])  # fmt: skip
def test_a_start_beyond_the_film_is_refused_before_an_engine_is_opened(
    make_clip, tiny_bundle, tmp_path, monkeypatch, changes, sentence
):
    from starcast.runtime.video import film_maker

    monkeypatch.setattr(film_maker, "Translator", None)
    with pytest.raises(OptionError, match=sentence):
        translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(**changes), **QUIET)


def test_a_start_just_behind_the_end_writes_nothing(make_clip, tiny_bundle, tmp_path):
    with pytest.raises(VideoError, match=r"in\.mp4 ends before --start"):
        translate_video(tiny_bundle, make_clip("in.mp4"), tmp_path / "out.mp4", options(start="0.6"), **QUIET)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_a_part_lasts_as_long_as_it_is():
    film = Drawn(range(0, 4000, 40))
    assert Trimmed(film, Fraction(1), Fraction(3)).duration_s == 2
    assert Trimmed(film, Fraction(1), None).duration_s == 3
    assert Paced(Trimmed(film, Fraction(1), Fraction(3)), Fraction(50)).duration_s == 2


@pytest.mark.parametrize(("begin", "end", "begins", "frames"), [
    ("0.7", None, "0", 15), ("0.2", None, "0.3", 20), ("0.2", "0.6", "0.3", 3), ("0", "9", "0.5", 20),
    ("0.62", "0.7", "0", 2), ("1.27", None, "0", 0),
])  # fmt: skip
def test_a_part_of_a_film_whose_frames_begin_late_knows_its_frames(begin, end, begins, frames):
    film = Drawn(range(500, 1300, 40))
    film.begins_s = Fraction(1, 2)
    assert film.duration_s == Fraction("1.3")
    part = Trimmed(film, Fraction(begin), None if end is None else Fraction(end))
    assert part.begins_s == Fraction(begins)
    assert part.frames == max(1, frames)  # 0 would be an unknown number
    if frames:
        assert len(shown(part)) == frames
        assert part.duration_s == Fraction(begins) + Fraction(frames, 25)


def test_a_film_whose_frames_begin_late_lasts_until_its_last_one(make_clip):
    late = make_clip("late.mp4", pts=range(25, 37), sounds=("aac",), sound_s=1.0)
    with open_film(late) as film:
        assert (film.begins_s, film.frames, film.duration_s) == (1, 12, Fraction("1.48"))


def test_a_part_before_the_first_frame_is_refused_with_the_time_of_that():
    film = Drawn([500, 540])
    film.begins_s = Fraction(1, 2)
    with pytest.raises(VideoError, match=r"drawn shows its first frame at 0\.50 s, which is not before --end: give a"):
        list(Trimmed(film, Fraction(0), Fraction("0.4")).read())


def test_a_short_film_at_a_low_rate_has_a_frame():
    paced = Paced(Drawn(range(0, 400, 40)), Fraction(1))
    assert paced.frames == len(shown(paced)) == 1


def test_a_view_has_everything_of_its_film():
    film = Drawn([0, 40])
    view = FilmView(film)
    names = {name for name in [*vars(Film), *Film.__annotations__] if not name.startswith("_")}
    names -= {"read", "close", "duration_s"}
    for name in names:
        setattr(type(film), name, name) if name not in vars(film) else None
    assert {name: getattr(view, name) for name in names} == {name: getattr(film, name) for name in names}
    view.close()
    assert film.is_closed


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="only the ffmpeg program makes this film")
@pytest.mark.parametrize(("source", "target", "codec"), [
    ("in.mkv", "out.mkv", "subrip"), ("in.mp4", "out.mp4", "mov_text"), ("in.mkv", "out.mp4", "subrip"),
])  # fmt: skip
def test_subtitles_are_cut_and_moved(tiny_bundle, tmp_path, source, target, codec):
    cues = [(0.1, 0.4, "gone"), (0.5, 0.9, "begins before"), (1.0, 1.2, "inside"), (1.4, 1.9, "ends later")]
    text = "".join(
        f"{number}\n00:00:0{begin:.3f} --> 00:00:0{end:.3f}\n{line}\n\n"
        for number, (begin, end, line) in enumerate(cues)
    )
    (tmp_path / "s.srt").write_text(text.replace(".", ","))
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", "-i", "s.srt",
         "-c:s", codec, source],
        cwd=tmp_path, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    translate_video(tiny_bundle, tmp_path / source, tmp_path / target, options(start="0.6", end="1.6"), **QUIET)
    with av.open(str(tmp_path / target)) as container:
        tick = container.streams.subtitles[0].time_base
        kept = [
            (float(packet.pts * tick), float((packet.pts + packet.duration) * tick), bytes(packet).strip(b"\0"))
            for packet in container.demux(subtitles=0)
            if packet.size > 2
        ]
    times = [(round(begin, 3), round(end, 3)) for begin, end, _ in kept]
    assert times == [(0.0, 0.3), (0.4, 0.6), (0.8, 1.0)]
    assert [line[-6:] for _, _, line in kept] == [b"before", b"inside", b" later"]


@pytest.mark.parametrize("changes", [
    {"align": True, "layout": "side-by-side"}, {"keep_size": True, "match_colour": True},
    {"recursion": "0.5", "keep_size": True}, {"fit": "native", "layout": "split"},
], ids=["faces", "colours", "recursion", "native"])  # fmt: skip
def test_a_part_at_another_rate_goes_with_every_geometry(tiny_bundle, make_clip, watch, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(opening, "open_face_files", open_drawn_files)
    images = [scene(20 + number) for number in range(20)]
    clip = make_clip("in.mp4", frames=20, width=WIDTH, height=HEIGHT, images=images, sounds=("aac",))
    wanted = options(opacity=1.0, start="4f", end="0.56", fps="50", **changes)  # frames 4 to 13, twice
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", wanted, **QUIET)
    film = watch(tmp_path / "out.mp4")
    assert report.frames == 20
    assert film.times == [Fraction(number, 50) for number in range(20)]
    assert film.samples[0] == pytest.approx(0.4 * RATE, abs=2048)
    width = WIDTH * 2 if changes.get("layout") == "side-by-side" else WIDTH
    assert (film.video["height"], film.video["width"]) == (HEIGHT, width)


@pytest.mark.parametrize(("end", "is_whole"), [("1", True), ("3.9", False)])
def test_damage_behind_the_part_is_no_failure(make_clip, tiny_bundle, tmp_path, end, is_whole):
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    clip = make_clip("in.mkv", frames=100, images=images)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    report = translate_video(tiny_bundle, clip, tmp_path / "out.mp4", options(end=end), **QUIET)
    assert (report.failed == []) == is_whole
    assert (report.frames == 25) == is_whole
