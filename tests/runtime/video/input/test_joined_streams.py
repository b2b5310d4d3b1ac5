"""Transport streams joined from recordings whose streams have other numbers (PIDs)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from beacons import assert_together, beacons, write_beacon
from hypothesis import given
from hypothesis import strategies as st
from real_films import read

from starcast.runtime.video.input.joined_streams import Part, Splice, SplicedFile, find_splice
from starcast.runtime.video.input.programmes import Layout

MPEG2, H264 = ("mpeg2video", "mp2"), ("libx264", "mp2")


def join(path: Path, *recordings: tuple[int, tuple[str, str]], m2ts: bool = False) -> list[int]:
    """Beacons of 2 s, one after another: the number of the first stream, and the codecs. Where each part begins."""
    begins, parts = [], b""
    for pid, codecs in recordings:
        write_beacon(path.with_name("part.ts"), 2, 2, codecs=codecs, pids=pid)
        begins.append(len(parts))
        content = path.with_name("part.ts").read_bytes()
        if m2ts:
            content = b"".join(bytes(4) + content[at : at + 188] for at in range(0, len(content), 188))
        parts += content
    path.write_bytes(parts)
    return begins


@pytest.mark.parametrize("pids", [(256, 400), (256, 255), (256, 257), (256, 400, 256), (256, 400, 300)],
                         ids=["others", "swapped", "overlapping", "and back", "three"])  # fmt: skip
@pytest.mark.parametrize("m2ts", [False, True], ids=["188", "192"])
def test_parts_with_other_numbers_are_one_film_in_sync(passed_through, tmp_path, pids, m2ts):
    join(tmp_path / "a.ts", *((pid, MPEG2) for pid in pids), m2ts=m2ts)
    passage = passed_through(tmp_path / "a.ts", tmp_path / "out.mkv")
    assert (passage.frames, passage.damaged, passage.ends_early) == (50 * len(pids), 0, False)
    flashes, clicks = beacons(tmp_path / "out.mkv")
    assert_together(tmp_path / "out.mkv", 2 * len(pids), clicks[0] - flashes[0], within=0.01)


def test_another_codec_ends_the_film_and_is_said(tmp_path):
    begins = join(tmp_path / "a.ts", (256, MPEG2), (256, H264))
    splice = find_splice(tmp_path / "a.ts")
    assert splice is not None
    assert begins[1] <= splice.end < begins[1] + 5 * 188  # the tables come first
    frames, source = read(tmp_path / "a.ts")
    assert (len(frames), source.damaged, source.is_followed) == (50, 0, True)


def test_sound_that_only_a_later_part_has_is_said(tmp_path):
    join(tmp_path / "a.ts", (256, MPEG2), (400, ("mpeg2video", "ac3")))
    frames, source = read(tmp_path / "a.ts")
    assert (len(frames), source.lacks_streams) == (100, True)


def test_recordings_with_the_same_numbers_are_left_to_ffmpeg(tmp_path):
    join(tmp_path / "a.ts", (256, MPEG2), (256, MPEG2))
    assert find_splice(tmp_path / "a.ts") is None


@pytest.mark.parametrize("later", [
    ((258, (4, 0)), (257, (4, 0)), (256, (2, 0))), ((256, (2, 0)), (257, (4, 0)), (300, (0x81, 0))), ((257, (4, 0)),),
], ids=["another order", "a stream more", "sound alone"])  # fmt: skip
def test_tables_that_change_in_a_recording_are_no_join(monkeypatch, tmp_path, later):
    first = ((256, (2, 0)), (257, (4, 0)), (258, (4, 0)))
    monkeypatch.setattr("starcast.runtime.video.input.joined_streams._changes", lambda *_: [(0, first), (1880, later)])
    (tmp_path / "a.ts").write_bytes((b"\x47" + bytes(187)) * 20)
    assert find_splice(tmp_path / "a.ts") is None


def test_a_large_file_is_looked_at_in_windows(tmp_path, monkeypatch):
    monkeypatch.setattr("starcast.runtime.video.input.joined_streams._WINDOW", 188 * 40)
    monkeypatch.setattr("starcast.runtime.video.input.joined_streams._WINDOWS", 4)
    begins = join(tmp_path / "a.ts", (256, MPEG2), (400, MPEG2))
    splice = find_splice(tmp_path / "a.ts")
    assert splice is not None
    assert [begins[1] <= part.begin < begins[1] + 5 * 188 for part in splice.parts] == [True]


@given(st.lists(st.tuples(st.integers(0, 188 * 40), st.integers(1, 700)), max_size=20))
def test_any_read_gives_the_same_bytes_as_reading_all(tmp_path_factory, reads):
    path = tmp_path_factory.mktemp("spliced") / "a.ts"
    generator = np.random.default_rng(7)
    packets = generator.integers(0, 256, (40, 188), np.uint8)
    packets[:, 0], packets[:, 1], packets[:, 2] = 0x47, 0x41, 0x90  # PID 400
    path.write_bytes(packets.tobytes())
    pids = np.full(0x2000, 0x1FFF, np.uint16)
    pids[400] = 256
    splice = Splice(Layout(188, 0), (Part(188 * 10, pids), Part(188 * 25, pids[::-1].copy())))
    file = SplicedFile(path, splice)
    whole = b"".join(iter(lambda: file.read(1000), b""))
    assert len(whole) == 188 * 40
    assert whole[: 188 * 10] == packets[:10].tobytes()
    assert whole[188 * 10 + 1 : 188 * 10 + 3] == b"\x41\x00"  # PID 256
    for at, count in reads:
        file.seek(at)
        content = file.read(count)
        assert content == whole[at : at + len(content)]
