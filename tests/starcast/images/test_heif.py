from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import odd_images
import pytest
from PIL import Image

from starcast.errors import ImageError
from starcast.images import heif
from starcast.images.read import read_image, read_stored
from starcast.train.data.folders import scan
from starcast.train.data.left_out import describe_data_set

SCENE = odd_images.scene()
HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
needs_pillow_heif = pytest.mark.skipif(not heif.is_installed(), reason="pillow-heif (the extra heif) is not installed")


def heic(image: Image.Image, *others: Image.Image, primary: int = 0, **settings: object) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    settings |= {"save_all": True, "append_images": others, "primary_index": primary} if others else {}
    return odd_images.encoded(image, "HEIF", quality=95, chroma=444, **settings)


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@needs_pillow_heif
@pytest.mark.parametrize("name", ["photo.heic", "photo.HEIF", "photo.jpg", "photo.png", "photo"])
def test_a_heic_is_read_whatever_its_name(tmp_path, name):
    path = saved(tmp_path / name, heic(Image.fromarray(SCENE)))
    stored = read_stored(path)
    assert odd_images.largest_difference(stored.pixels, SCENE) <= 8
    assert stored.notes == ()


@needs_pillow_heif
@pytest.mark.parametrize("brand", ["mif1", "msf1", "heic"])
def test_the_first_brand_does_not_matter(tmp_path, brand):
    content = heic(Image.fromarray(SCENE))
    path = saved(tmp_path / "x.heic", content[:8] + brand.encode() + content[12:])
    assert odd_images.largest_difference(read_image(path), SCENE) <= 8


@needs_pillow_heif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_heic_is_turned_once(tmp_path, orientation):
    stored, exif = odd_images.turned_away(Image.fromarray(SCENE), orientation)
    path = saved(tmp_path / "x.heic", heic(stored, exif=exif.tobytes()))
    assert odd_images.largest_difference(read_image(path), SCENE) <= 8


@needs_pillow_heif
def test_transparency_is_on_white_and_kept_beside(tmp_path):
    clear = Image.fromarray(SCENE).convert("RGBA")
    clear.putalpha(128)
    stored = read_stored(saved(tmp_path / "x.heic", heic(clear)))
    assert odd_images.largest_difference(stored.pixels, odd_images.on_white(128)) <= 8
    assert stored.alpha is not None
    assert np.abs(stored.alpha.astype(int) - 128).max() <= 4


@needs_pillow_heif
def test_a_profile_is_applied(tmp_path):
    swapped = Image.fromarray(np.ascontiguousarray(SCENE[..., ::-1]))
    path = saved(tmp_path / "x.heic", heic(swapped, icc_profile=odd_images.swapped_profile()))
    assert odd_images.largest_difference(read_image(path), SCENE) <= 12


@needs_pillow_heif
def test_10_bits_are_read(tmp_path):
    import pillow_heif

    deep, buffer = (SCENE.astype(np.uint16) * 257).tobytes(), io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (odd_images.WIDTH, odd_images.HEIGHT), deep).save(buffer, quality=95, chroma=444)
    assert odd_images.largest_difference(read_image(saved(tmp_path / "x.heic", buffer.getvalue())), SCENE) <= 8


@needs_pillow_heif
def test_of_several_images_the_main_one_is_read_with_a_remark(tmp_path):
    other = Image.new("RGB", (64, 48), "red")
    content = heic(other, Image.fromarray(SCENE), primary=1)
    stored = read_stored(saved(tmp_path / "x.heic", content))
    assert odd_images.largest_difference(stored.pixels, SCENE) <= 8
    assert stored.notes == ("holds 2 images, and only the main one is used",)


@needs_pillow_heif
def test_a_damaged_heic_is_a_sentence(tmp_path):
    whole = heic(Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)))
    for kept in (0.05, 0.3, 0.6, 0.99):
        path = saved(tmp_path / "x.heic", whole[: int(len(whole) * kept)])
        with pytest.raises(ImageError, match="x.heic is damaged or cut short"):
            read_image(path)


@needs_pillow_heif
def test_the_limit_of_pixels_counts_before_decoding(tmp_path):
    path = saved(tmp_path / "x.heic", heic(Image.fromarray(SCENE)))
    with pytest.raises(ImageError, match="64 x 48 pixels, more than the limit of 3000"):
        read_image(path, max_pixels=3000)


@needs_pillow_heif
def test_a_folder_of_heics_trains(tmp_path):
    (tmp_path / "cat").mkdir()
    saved(tmp_path / "cat/a.heic", heic(Image.fromarray(SCENE)))
    assert describe_data_set(scan(tmp_path)) == ["1 domain: cat (1 image)"]


def test_without_pillow_heif_the_refusal_names_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(heif, "is_installed", lambda: False)
    path = saved(tmp_path / "x.jpg", HEAD + bytes(200))
    with pytest.raises(
        ImageError, match=r"is a HEIC photograph, which cannot be read here: pip install 'starcast\[heif\]'"
    ):
        read_image(path)
    path.unlink()
    (tmp_path / "cat").mkdir()
    Image.fromarray(SCENE).save(tmp_path / "cat/a.png")
    saved(tmp_path / "cat/b.heic", HEAD)
    (line,) = describe_data_set(scan(tmp_path))[1:]
    assert line.endswith("save it as PNG or JPEG, or pip install 'starcast[heif]' for HEIC")


def test_only_a_heic_imports_pillow_heif(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "x.png")
    code = f"""
import pathlib, sys
from starcast.images.read import read_image
read_image(pathlib.Path({str(tmp_path / "x.png")!r}))
assert "pillow_heif" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
