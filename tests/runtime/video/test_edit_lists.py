"""Edit lists of MP4 and MOV, which phones write when a video is trimmed: only what they show is translated."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import pytest
from beacons import beacons, write_beacon

SOUND_RATE = 48000


def write_edited(path: Path, edits: list[tuple[Fraction, Fraction]]) -> None:
    """A beacon of 4 s, of which each edit shows some seconds: (length, begin)."""
    write_beacon(path, 4, 4, codecs=("libx264", "aac"), g="25", bf="0", preset="ultrafast")
    content = path.read_bytes()
    path.write_bytes(b"".join(with_edits(box, edits) for box in boxes(content)))


def boxes(content: bytes) -> list[bytes]:
    """The boxes side by side in a file or a box (ISO/IEC 14496-12, 4.2)."""
    found, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found.append(content[at : at + size])
        at += size
    return found


def with_edits(box: bytes, edits: list[tuple[Fraction, Fraction]]) -> bytes:
    """The same box, with this edit list in every track (8.6.6)."""
    kind, inner = box[4:8], boxes(box[8:]) if box[4:8] in (b"moov", b"trak", b"mdia") else []
    if kind == b"moov":
        return make_box(kind, b"".join(with_edits(one, edits) for one in inner))
    if kind != b"trak":
        return box
    (mdia,) = (one for one in inner if one[4:8] == b"mdia")
    (mdhd,) = (one for one in boxes(mdia[8:]) if one[4:8] == b"mdhd")
    media_scale = int.from_bytes(mdhd[20:24], "big")
    table = struct.pack(">II", 0, len(edits)) + b"".join(
        struct.pack(">IiI", round(lasts * 1000), round(begins * media_scale), 0x10000) for lasts, begins in edits
    )
    kept = [one for one in inner if one[4:8] not in (b"edts", b"mdia")]
    return make_box(kind, b"".join([*kept, make_box(b"edts", make_box(b"elst", table)), mdia]))


def make_box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize(("edits", "seconds", "flashes"), [
    ([("1", "0"), ("1", "2")], 2, [0.48, 1.48]),
    ([("1", "0"), ("2", "1"), ("1", "3")], 4, [0.48, 1.48, 2.48, 3.48]),
    ([("0.8", "2"), ("0.8", "0.4")], 1.6, [0.48, 0.88]),
    ([("1.2", "1.2")], 1.2, [0.28]),
], ids=["two parts", "three in a row", "the later first", "trimmed"])  # fmt: skip
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_only_what_an_edit_list_shows_is_there_and_in_sync(
    passed_through, watch, tmp_path, edits, seconds, flashes, suffix
):
    clip = tmp_path / "in.mp4"
    write_edited(clip, [(Fraction(lasts), Fraction(begins)) for lasts, begins in edits])
    passage = passed_through(clip, tmp_path / f"out.{suffix}")
    film = watch(passage.target)
    assert (passage.ends_early, passage.damaged, len(film.times)) == (False, 0, seconds * 25)
    begin = film.times[0]
    assert 0 <= begin < (0.001 if suffix == "mp4" else 0.022)  # MKV cannot hide the packet that starts a decoder
    assert film.times[-1] - begin == pytest.approx(seconds - 0.04, abs=0.001)
    seen, clicks = beacons(passage.target)
    assert [at - begin for at in seen] == pytest.approx(flashes, abs=0.001)
    assert [at - begin for at in clicks] == pytest.approx(flashes, abs=0.025)  # sound is cut between packets of 21 ms
