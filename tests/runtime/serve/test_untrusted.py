"""Images of clients are decoded in a process that may die, or take too long."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starcast.errors import ImageError
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.untrusted.decode import Decoder

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)


def png(image=IMAGE):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_an_image_is_decoded_and_nothing_of_it_stays():
    with Decoder(Limits()) as decoder:
        assert np.array_equal(decoder.decode(png()), IMAGE)
        folder, process = decoder._folder.name, decoder._process
        with pytest.raises(ImageError, match="the image"):
            decoder.decode(b"no image")
        assert np.array_equal(decoder.decode(png()), IMAGE)
        assert decoder._process is process  # an error does not end it
    assert process.poll() is not None
    assert not Path(folder).exists()


def test_a_process_that_dies_costs_one_image():
    with Decoder(Limits()) as decoder:
        decoder.decode(png())
        decoder._process.kill()
        decoder._process.wait()
        with pytest.raises(ImageError, match="cannot be decoded"):
            decoder.decode(png())
        assert np.array_equal(decoder.decode(png()), IMAGE)


def test_an_image_that_takes_too_long_is_given_up():
    with Decoder(Limits(decode_s=0.001)) as decoder, pytest.raises(ImageError, match="takes too long"):
        decoder.decode(png())  # Python does not even start in that time


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_an_image_may_have_as_many_pixels_as_the_limit_and_no_more():
    with Decoder(Limits(pixels=4_000_000)) as decoder:
        assert decoder.decode(png(np.zeros((2000, 2000, 3), np.uint8))).shape == (2000, 2000, 3)
        with pytest.raises(ImageError, match="4,?001,?000|pixels"):
            decoder.decode(png(np.zeros((2001, 2000, 3), np.uint8)))
