"""Films and their frames are freed as soon as nobody uses them. What refers to itself waits for Python's cycle
collector, and so do its decoders and pixels: memory grew by a third over 100 films."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from itertools import islice

import av
import pytest
from PIL import Image

from starcast.runtime.video.input.hdr import stated_peak
from starcast.runtime.video.input.orientation import display_matrix
from starcast.runtime.video.input.view import open_view
from starcast.runtime.video.options import VideoOptions


@contextmanager
def freed_at_once():
    """The block leaves nothing to the cycle collector."""
    gc.collect()
    gc.disable()
    try:
        yield
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.fixture
def make_film(make_clip, tmp_path):
    def make(kind):
        if kind == "animation":
            images = [Image.new("RGB", (16, 16), (40 * number, 9, 9)) for number in range(4)]
            images[0].save(tmp_path / "in.webp", save_all=True, append_images=images[1:], duration=40, lossless=True)
            return tmp_path / "in.webp"
        if kind == "sequence":
            (tmp_path / "in").mkdir()
            for number in range(4):
                Image.new("RGB", (16, 16), (40 * number, 9, 9)).save(tmp_path / "in" / f"{number}.png")
            return tmp_path / "in"
        clip = make_clip("in.mkv", frames=40, sounds=("aac",))
        if kind == "damaged":
            content = bytearray(clip.read_bytes())
            content[-3000:-1000] = bytes(2000)
            clip.write_bytes(content)
        return clip

    return make


@pytest.mark.parametrize("kind", ["film", "damaged", "animation", "sequence"])
@pytest.mark.parametrize("changes", [{}, {"start": "0.04", "end": "0.12", "fps": "50"}], ids=["whole", "part"])
@pytest.mark.parametrize("items", [0, 2, None])
def test_a_film_is_freed_when_it_is_closed(make_film, kind, changes, items):
    path, options = make_film(kind), VideoOptions(domain="dog", **changes)

    def read():
        with open_view(path, options) as film:
            for _ in islice(film.read(), items):
                pass

    read()  # what is made once
    with freed_at_once():
        read()


def test_a_frame_whose_side_data_was_read_is_freed(make_clip):
    turned = make_clip("turned.mp4", frames=5, rotation=90)
    with freed_at_once():
        with av.open(str(turned)) as film:
            for frame in film.decode(video=0):
                assert display_matrix(frame) != (1, 0, 0, 1)
                assert stated_peak(frame) == 0
        del frame, film
