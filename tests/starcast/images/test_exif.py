from __future__ import annotations

import random
import struct

import pytest
from exif_blocks import NOTE, NOTE_AT, THUMBNAIL, Camera
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from starcast.images.exif import update_exif

JPEG_ROOM = 65527  # 65535 bytes of a segment, less its length and the name


def _update(stored: bytes, room: int = JPEG_ROOM, software: str | None = "starcast 1"):
    content, lost = update_exif(stored, software=software, size=(256, 128), dpi=(72.5, 96), room=room)
    block = Image.Exif()
    block.load(content)
    return content, block, lost


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_a_photograph_says_of_its_scene_stays(order):
    _, block, lost = _update(Camera(order).photograph())
    assert lost == []
    assert {tag: block[tag] for tag in (0x010E, 0x010F, 0x0132, 0x013B, 0x8298)} == {
        0x010E: "A cat", 0x010F: "Maker", 0x0132: "2001:02:03 04:05:06", 0x013B: "Ann", 0x8298: "(c) Ann",
    }  # fmt: skip
    assert block.get_ifd(0x8769)[0x9003] == "2001:02:03 04:05:06"
    assert block.get_ifd(0x8825) == {1: "N", 2: (52.0, 31.0, 12.0), 29: "2001:02:03"}
    assert block[0x011A] == 300
    assert block[0x0131] == "starcast 1"


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_it_says_of_its_pixels_is_that_of_the_new_ones(order):
    content, block, _ = _update(Camera(order).photograph())
    exif = block.get_ifd(0x8769)
    assert block[0x0112] == 1  # upright
    assert (exif[0xA002], exif[0xA003]) == (128, 256)
    assert exif[0xA001] == 1  # sRGB
    assert block.get_ifd(0xA005)[1] == "R98"  # sRGB, in DCF's words
    assert 0x013E not in block  # white point
    assert 0x9214 not in exif  # where the subject is
    assert block.get_ifd(1) == {}  # the thumbnail's directory
    assert THUMBNAIL not in content


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_makers_notes_stay_where_they_were(order):
    content, block, _ = _update(Camera(order).photograph())
    assert content[NOTE_AT : NOTE_AT + len(NOTE)] == NOTE
    assert block.get_ifd(0x8769)[0x927C] == NOTE


def test_without_a_mark_the_program_stays():
    assert _update(Camera().photograph(), software=None)[1][0x0131] == "Camera 1.0"


def test_an_image_without_exif_gets_a_mark_and_its_resolution():
    _, block, lost = _update(b"")
    assert (dict(block), lost) == ({0x0131: "starcast 1", 0x011A: 72.5, 0x011B: 96, 0x0128: 2}, [])


def test_where_there_is_no_room_the_makers_notes_go_first():
    camera = Camera()
    large = camera.photograph() + bytes(70_000)
    at = struct.pack(">HHL", 0x927C, 7, len(NOTE)) + struct.pack(">L", NOTE_AT)
    assert at in large
    large = large.replace(at, struct.pack(">HHL", 0x927C, 7, 66_000) + struct.pack(">L", 2048))
    content, block, lost = _update(large)
    assert len(content) <= JPEG_ROOM
    assert lost == ["the camera maker's notes in its EXIF, for which there is no room"]
    assert block[0x010F] == "Maker"
    assert _update(large, room=2**31)[2] == []  # as in a PNG


def test_exif_for_which_there_is_no_room_is_left_out():
    description = (0x010E, 2, 70_000)
    entry = struct.pack(">HHL", *description) + struct.pack(">L", 26)
    large = b"MM\0*" + struct.pack(">LH", 8, 1) + entry + bytes(4) + b"x" * 70_000
    content, block, lost = _update(large)
    assert lost == ["its EXIF, for which there is no room"]
    assert block[0x0131] == "starcast 1"
    assert len(content) < 200


@pytest.mark.parametrize("stored", [
    b"garbage", b"MM\0*", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x05", b"MM\0+\0\x08\0\0",
])  # fmt: skip
def test_damaged_exif_is_left_out_with_a_word(stored):
    _, block, lost = _update(stored)
    assert lost in (["its EXIF, which is damaged"], ["parts of its EXIF, which are damaged"])
    assert block[0x0131] == "starcast 1"


def test_a_value_outside_the_block_costs_no_other():
    stored = Camera().photograph()
    artist = struct.pack(">HHL", 0x013B, 2, 4) + b"Ann\0"
    assert artist in stored
    _, block, lost = _update(stored.replace(artist, struct.pack(">HHLL", 0x013B, 2, 400_000, 8)))
    assert lost == ["parts of its EXIF, which are damaged"]
    assert 0x013B not in block
    assert block[0x010F] == "Maker"


def test_directories_that_point_at_each_other_end():
    loop = b"MM\0*" + struct.pack(">L", 8) + struct.pack(">HHHLLL", 1, 0x8769, 4, 1, 8, 0)
    assert _update(loop)[1][0x0131] == "starcast 1"


def test_values_that_share_their_bytes_do_not_multiply():
    entries = b"".join(struct.pack(">HHLL", tag, 7, 60_000, 8) for tag in range(0x9000, 0x9000 + 5000))
    stored = b"MM\0*" + struct.pack(">LH", 8, 5000) + entries + bytes(4)
    content, _, lost = _update(stored, room=2**31)
    assert len(content) < 200
    assert lost == ["its EXIF, which is damaged"]


@given(st.binary(max_size=300), st.sampled_from([b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0", b""]))
def test_any_bytes_make_a_block_that_can_be_read(content, header):
    assert _update(header + content)[1][0x0131] == "starcast 1"


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_any_damage_makes_a_block_that_can_be_read(seed, changes):
    draws, stored = random.Random(seed), bytearray(Camera(random.Random(seed).choice("<>")).photograph())
    for _ in range(changes):
        stored[draws.randrange(8, len(stored))] = draws.randrange(256)
    content, block, _ = _update(bytes(stored))
    assert block[0x0131] == "starcast 1"
    assert len(content) <= JPEG_ROOM
