"""Films with transparency: red on the left, and on the right a blue that cannot be seen. There it must be white."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from starcast.runtime.video import colour
from starcast.runtime.video.fitting import fit_frames
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Geometry
from starcast.runtime.video.input import alpha
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.input.input_options import InputOptions
from starcast.runtime.video.input.source import Source, open_film
from starcast.runtime.video.report import FilmReport

RED, BLUE = (200, 30, 30), (30, 30, 200)


def rgba() -> np.ndarray:
    image = np.zeros((48, 64, 4), np.uint8)
    image[:, :32] = (*RED, 255)
    image[:, 32:] = (*BLUE, 0)
    return image


@pytest.fixture
def clear_film(tmp_path: Path) -> Callable[..., Path]:
    """A film of three frames in a codec and pixel format with transparency."""

    def make(name: str, codec: str, pixel_format: str, rotation: int = 0, **options: str) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            try:
                stream: Any = container.add_stream(codec, rate=25, options=options)
            except ValueError:
                pytest.skip(f"this FFmpeg cannot encode {codec}")
            stream.height, stream.width, stream.pix_fmt = 48, 64, pixel_format
            if rotation:
                stream.set_display_rotation(rotation)
            if name.endswith(".webm"):
                stream.metadata["alpha_mode"] = "1"
            for number in range(3):
                frame = av.VideoFrame.from_ndarray(rgba(), format="rgba").reformat(format=pixel_format)
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


def sides(path: Path) -> list[list[int]]:
    """The colours in the middle of the left and of the right half."""
    with open_film(path) as source:
        frames = [item.frame for item in source.read() if isinstance(item, Frame)]
        assert (len(frames), source.damaged, source.ends_early) == (3, 0, False)
        pixels = colour.to_rgb(frames[-1], container=source.stated)
        return pixels[24, [16, 48]].astype(int).tolist()


FILMS = [
    ("vp9.webm", "libvpx-vp9", "yuva420p", {"lossless": "1", "auto-alt-ref": "0"}),
    ("vp8.webm", "libvpx", "yuva420p", {"crf": "4", "b": "2M", "auto-alt-ref": "0"}),
    ("prores.mov", "prores_ks", "yuva444p10le", {}),
    ("qtrle.mov", "qtrle", "argb", {}),
    ("png.mov", "png", "rgba", {}),
    ("ffv1.mkv", "ffv1", "yuva420p", {}),
    ("utvideo.avi", "utvideo", "gbrap", {}),
    ("animated.apng", "apng", "rgba", {}),
]  # fmt: skip


def fitted(path: Path, geometry: Geometry, **reading: bool) -> list[RgbFrame]:
    with open_film(path, reading=InputOptions(**reading)) as source:
        items = fit_frames(source.read(), source, geometry, FilmReport(path, {"fit": 0.0}))
        return [item for item in items if isinstance(item, RgbFrame)]


@pytest.mark.parametrize(("name", "codec", "pixel_format", "options"), FILMS, ids=[name for name, *_ in FILMS])
def test_transparency_is_kept_on_request(clear_film, name, codec, pixel_format, options):
    path = clear_film(name, codec, pixel_format, **options)
    frames = fitted(path, Geometry((48, 64), "stretch"), keep_alpha=True)
    assert len(frames) == 3
    for frame in frames:
        assert frame.alpha[24, [16, 48]].tolist() == [255, 0]
        assert frame.pixels[24, 48].tolist() == [255, 255, 255]
    assert all(frame.alpha is None for frame in fitted(path, Geometry((48, 64), "stretch")))


@pytest.mark.parametrize("suffix", ["png", "webp", "gif", "avif"])
def test_transparency_of_animations_is_kept_on_request(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    frames = [Image.fromarray(rgba()), Image.fromarray(rgba()[:, ::-1])]
    exact = {"lossless": True} if suffix == "webp" else {"quality": 95} if suffix == "avif" else {"disposal": 2}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, **exact)
    seen = fitted(path, Geometry((48, 64), "stretch"), keep_alpha=True)
    assert [frame.alpha[24, [16, 48]].tolist() for frame in seen] == [[255, 0], [0, 255]]


@pytest.mark.parametrize(("geometry", "size", "opaque", "clear"), [
    (Geometry((32, 32), "crop"), (32, 32), [(16, 7)], [(16, 25)]),
    (Geometry((32, 32), "pad"), (32, 32), [(16, 7)], [(16, 25), (2, 7), (30, 7)]),  # margins above and below
    (Geometry((32, 32), "stretch", frame=(48, 64)), (48, 64), [(24, 16)], [(24, 48)]),  # put back into the frame
])  # fmt: skip
def test_transparency_is_fitted_like_the_film(clear_film, geometry, size, opaque, clear):
    frame = fitted(clear_film("a.mkv", "ffv1", "yuva420p"), geometry, keep_alpha=True)[0]
    assert frame.alpha.shape == size
    assert [frame.alpha[at] for at in opaque] == [255] * len(opaque)
    assert [frame.alpha[at] for at in clear] == [0] * len(clear)


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV writes no display matrix")
def test_transparency_turns_with_the_frame(clear_film):
    path = clear_film("a.mov", "qtrle", "argb", rotation=90)
    frame = fitted(path, Geometry((64, 48), "stretch"), keep_alpha=True)[0]
    assert frame.alpha[[48, 16], 24].tolist() == [255, 0]  # turned counter-clockwise: the left is below


def test_a_film_without_transparency_is_opaque(make_clip):
    frame = fitted(make_clip("a.mp4", frames=2), Geometry((48, 64), "stretch"), keep_alpha=True)[0]
    assert (frame.alpha == 255).all()


@pytest.mark.parametrize(("name", "codec", "pixel_format", "options"), FILMS, ids=[name for name, *_ in FILMS])
def test_transparency_is_white_in_every_codec(clear_film, name, codec, pixel_format, options):
    left, right = sides(clear_film(name, codec, pixel_format, **options))
    assert np.abs(np.subtract(left, RED)).max() <= 4
    assert right == [255, 255, 255]


def test_a_palettes_transparent_entry_is_white():
    frame = av.VideoFrame(16, 16, "pal8")
    frame.planes[0].update(bytes(8 * [0] + 8 * [1]) * 16)
    palette = np.zeros((256, 4), np.uint8)
    palette[0], palette[1] = (*RED[::-1], 255), (*BLUE[::-1], 0)  # BGRA in memory
    frame.planes[1].update(palette.tobytes())
    assert colour.to_rgb(frame)[8, [2, 12]].tolist() == [list(RED), [255, 255, 255]]


def test_transparency_that_cannot_be_decoded_is_said(clear_film, monkeypatch):
    path = clear_film("vp9.webm", "libvpx-vp9", "yuva420p", **{"lossless": "1", "auto-alt-ref": "0"})
    monkeypatch.setattr(alpha, "_KEEPS_ALPHA", {"vp9": "absent"})
    with Source(path) as source:
        assert source.changes == ["has transparency, which this FFmpeg cannot decode: what lies under it is shown"]
        assert len([item for item in source.read() if isinstance(item, Frame)]) == 3
