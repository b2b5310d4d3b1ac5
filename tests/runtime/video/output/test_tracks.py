"""The streams beside the frames: each is copied, encoded again or dropped for its own reason."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

RATE = 48000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="only the ffmpeg program makes this film")
VIDEO = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d={seconds}")
SOUND = ("-f", "lavfi", "-i", "sine=440:r=48000:d={seconds}")


def ffmpeg(*arguments: str, seconds: float = 2.0) -> None:
    filled = [argument.format(seconds=seconds) for argument in arguments]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *filled], check=True, stdin=subprocess.DEVNULL)


def tones(layout: str) -> list[int]:
    """A frequency for each channel, 40 Hz for subwoofers, which carry low tones only."""
    channels = av.AudioLayout(layout).channels
    return [40 if channel.name == "LFE" else 300 + 150 * number for number, channel in enumerate(channels)]


def write_film(path: Path, codec: str, layout: str, seconds: float = 1.0) -> None:
    """A short film, and sound with a tone of its own in each channel."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream(codec, rate=RATE)
        sound.layout = layout
        for number in range(round(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * (number % 25), np.uint8), format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        when = np.arange(round(RATE * seconds)) / RATE
        waves = [(8000 * np.sin(2 * np.pi * tone * when)).astype(np.int16) for tone in tones(layout)]
        packed = np.ascontiguousarray(np.stack(waves, axis=1)).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for stream, last in ((sound, frame), (video, None), (sound, None)):
            container.mux(stream.encode(last))


def listen(path: Path, stream: int = 0) -> tuple[np.ndarray, int, float]:
    """Sound as float32 [n, channels], its rate, and when it begins in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=stream))
        rate, begins = frames[0].sample_rate, float(frames[0].pts * frames[0].time_base)
        resampler = av.AudioResampler(format="flt", layout=frames[0].layout, rate=rate)
        parts = [part for frame in frames for part in resampler.resample(frame)]
        count = frames[0].layout.nb_channels
        return np.concatenate([part.to_ndarray().reshape(-1, count) for part in parts]), rate, begins


def heard(wave: np.ndarray) -> list[int]:
    """The loudest frequency of each channel between 0.25 and 0.75 s, to 2 Hz; 0 where it is silent."""
    window = np.hanning(RATE // 2)
    spectra = [np.abs(np.fft.rfft(channel * window)) for channel in wave[RATE // 4 : RATE * 3 // 4].T]
    return [int(spectrum.argmax()) * 2 if spectrum.max() > 50 else 0 for spectrum in spectra]


def sounds(path: Path) -> list[tuple[str, int]]:
    with av.open(str(path)) as container:
        return [(one.codec_context.name, one.codec_context.layout.nb_channels) for one in container.streams.audio]


@pytest.mark.parametrize("layout", [
    "quad", "3.1", "5.0(side)", "5.1", "5.1(side)", "6.0", "6.0(front)", "hexagonal", "6.1", "7.1", "7.1(wide)",
    "octagonal",
])  # fmt: skip
def test_each_channel_stays_a_channel_of_its_own(passed_through, tmp_path, layout):
    write_film(tmp_path / "a.mov", "pcm_s16le", layout)
    (note,) = passed_through(tmp_path / "a.mov", tmp_path / "out.mp4").notes
    assert "encoded again as AAC" in note
    wave, _, _ = listen(tmp_path / "out.mp4")
    assert heard(wave) == tones(layout)


@pytest.mark.parametrize("count", [6, 8])
def test_channels_without_names_are_kept_as_surround_and_that_is_said(passed_through, tmp_path, count):
    layout = {6: "5.1", 8: "7.1"}[count]
    write_film(tmp_path / "a.mkv", "pcm_s16le", layout)  # Matroska does not store the names of PCM's channels
    (note,) = passed_through(tmp_path / "a.mkv", tmp_path / "out.mp4").notes
    assert f"its {count} channels have no names and are taken for {layout}" in note
    wave, _, _ = listen(tmp_path / "out.mp4")
    assert heard(wave) == tones(layout)


def test_sixteen_channels_are_mixed_down_and_that_is_said(passed_through, tmp_path):
    write_film(tmp_path / "a.mov", "pcm_s16le", "hexadecagonal")
    (note,) = passed_through(tmp_path / "a.mov", tmp_path / "out.mp4").notes
    assert "its 16 channels are mixed down to" in note
    assert "(.mov or .mkv does)" in note  # where they are kept
    wave, _, _ = listen(tmp_path / "out.mp4")
    strongest = np.abs(np.fft.rfft(wave[RATE // 4 : RATE * 3 // 4].sum(1)))
    assert all(strongest[tone // 2] > 30 for tone in tones("hexadecagonal"))


@needs_ffmpeg
def test_a_refused_track_alone_is_encoded_again(passed_through, tmp_path):
    """MOV takes AC-3, but no FLAC."""
    ffmpeg(*VIDEO, *SOUND, "-map", "0", "-map", "1", "-map", "1", "-c:v", "libx264", "-ac", "6", "-c:a:0", "ac3",
           "-c:a:1", "flac", "-strict", "-2", str(tmp_path / "a.mp4"))  # fmt: skip
    notes = passed_through(tmp_path / "a.mp4", tmp_path / "out.mov").notes
    assert notes == ["sound (flac, stream 2) is encoded again as AAC: .mov does not take flac (.mp4 or .mkv does)"]
    assert sounds(tmp_path / "out.mov") == [("ac3", 6), ("aac", 6)]


@needs_ffmpeg
def test_subtitles_beside_a_refused_track_are_kept(passed_through, tmp_path):
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:01,000\nHello\n")
    ffmpeg(*VIDEO, *SOUND, "-i", str(tmp_path / "s.srt"), "-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264",
           "-c:a", "flac", "-c:s", "mov_text", "-strict", "-2", str(tmp_path / "a.mp4"))  # fmt: skip
    (note,) = passed_through(tmp_path / "a.mp4", tmp_path / "out.mov").notes
    assert "flac" in note
    with av.open(str(tmp_path / "out.mov")) as container:
        texts = [bytes(packet) for packet in container.demux(subtitles=0) if packet.size > 2]
    assert len(texts) == 1
    assert b"Hello" in texts[0]


@needs_ffmpeg
@pytest.mark.parametrize("packing", ["latm", "pat_pmt_at_frames"], ids=["latm", "adts"])
@pytest.mark.parametrize(("first", "then"), [
    ((2, 48000), (6, 48000)), ((6, 48000), (2, 44100)), ((1, 32000), (2, 48000)),
])  # fmt: skip
def test_sound_that_changes_its_layout_or_rate_midway_is_all_there(passed_through, tmp_path, first, then, packing):
    parts = []
    for number, (channels, rate) in enumerate((first, then)):
        ffmpeg(*VIDEO, "-f", "lavfi", "-i", f"sine=440:r={rate}:d=2", "-ac", str(channels), "-c:v", "libx264",
               "-g", "25", "-c:a", "aac", "-mpegts_flags", packing, "-muxdelay", "0",
               "-output_ts_offset", str(2 * number), str(tmp_path / f"{number}.ts"))  # fmt: skip
        parts.append((tmp_path / f"{number}.ts").read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    passage = passed_through(tmp_path / "a.ts", tmp_path / "out.mp4")
    assert passage.damaged == 0
    wave, rate, begins = listen(tmp_path / "out.mp4")
    assert (rate, wave.shape[1]) == (first[1], first[0])
    assert begins + len(wave) / rate == pytest.approx(4, abs=0.15)  # the parts overlap by two frames of AAC
    tenths = np.split(wave[: 38 * (rate // 10)], 38)
    assert all(np.abs(part).max() > 0.02 for part in tenths)
    mixed = [note for note in passage.notes if "mixed into" in note]
    assert len(mixed) == (then[0] > first[0])


@needs_ffmpeg
def test_sound_with_headers_of_its_own_that_does_not_change_is_copied(passed_through, tmp_path):
    ffmpeg(*VIDEO, *SOUND, "-c:v", "libx264", "-c:a", "aac", str(tmp_path / "a.ts"))
    assert passed_through(tmp_path / "a.ts", tmp_path / "out.mp4").notes == []


def with_gap(path: Path, codec: str) -> None:
    """Sound of 4 s, none from 1.2 to 1.8 s; its last sample is at 3.989 s (whole frames of 1024)."""
    ffmpeg(*VIDEO, *SOUND, "-af", "aselect='not(between(t,1.2,1.8))'", "-c:v", "libx264", "-c:a", codec, str(path),
           seconds=4)  # fmt: skip


@needs_ffmpeg
@pytest.mark.parametrize("target", ["out.mov", "out.mp4", "out.mkv"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_u8", "flac"])
def test_a_gap_in_the_sound_stays_a_gap(passed_through, tmp_path, codec, target):
    with_gap(tmp_path / "a.mkv", codec)
    with av.open(str(tmp_path / "a.mkv")) as container:
        begins = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.size]
    passed_through(tmp_path / "a.mkv", tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        last = max(float(frame.pts * frame.time_base) for frame in container.decode(audio=0))
    assert last == pytest.approx(begins[-1], abs=0.1)  # packets of PCM are as long as the muxer likes
    wave, rate, _ = listen_in_place(tmp_path / target)
    before, gap, after = (
        np.abs(wave[round(a * rate) : round(b * rate)]).max() for a, b in ((1, 1.15), (1.3, 1.7), (1.9, 2))
    )
    assert min(before, after) > 0.05
    assert gap < 0.02
    assert len(wave) / rate == pytest.approx(4, abs=0.05)


def loudest(wave: np.ndarray, rate: int, begin: float, end: float) -> float:
    return float(np.abs(wave[round(begin * rate) : round(end * rate)]).max())


def listen_in_place(path: Path) -> tuple[np.ndarray, int, float]:
    """Mono sound, each frame at its own time."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    rate = frames[0].sample_rate
    wave = np.zeros(5 * rate, np.float32)
    resampler = av.AudioResampler(format="flt", layout=frames[0].layout, rate=rate)
    end = 0
    for frame in frames:
        begin = round(float(frame.pts * frame.time_base) * rate)
        for part in resampler.resample(frame):
            wave[begin : begin + part.samples] = part.to_ndarray()[0]
            end = begin = begin + part.samples
    return wave[:end], rate, 0.0


@needs_ffmpeg
def test_what_is_dropped_is_dropped_for_its_true_reason(passed_through, tmp_path):
    font = tmp_path / "Font.ttf"
    font.write_bytes(b"\0\1\0\0" + bytes(96))
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:01,000\nHello\n")
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32:d=0.04", str(tmp_path / "cover.png"))
    ffmpeg(*VIDEO, "-f", "lavfi", "-i", "testsrc2=s=32x32:r=25:d=2", "-i", str(tmp_path / "s.srt"), "-map", "0",
           "-map", "1", "-map", "2", "-c:v", "libx264", "-c:s", "ass", "-attach", str(font), "-metadata:s:t:0",
           "mimetype=application/x-truetype-font", "-attach", str(tmp_path / "cover.png"), "-metadata:s:t:1",
           "mimetype=image/png", "-metadata:s:t:1", "filename=cover.png", str(tmp_path / "a.mkv"))  # fmt: skip
    assert set(passed_through(tmp_path / "a.mkv", tmp_path / "out.mp4").notes) == {
        "video (h264, stream 1) is dropped: only one video stream is translated",
        "subtitles (ssa, stream 2) are converted to MP4's timed text: .mp4 does not take ssa (.mkv does)",
        "attachment (Font.ttf, stream 3) is dropped: .mp4 does not take attachments (.mkv does)",
    }
    assert set(passed_through(tmp_path / "a.mkv", tmp_path / "out.mkv").notes) == {
        "video (h264, stream 1) is dropped: only one video stream is translated",
    }
    with av.open(str(tmp_path / "out.mkv")) as container:
        (kept,) = [stream for stream in container.streams if stream.type == "attachment"]
        assert (kept.metadata["filename"], bytes(kept.data)) == ("Font.ttf", font.read_bytes())
