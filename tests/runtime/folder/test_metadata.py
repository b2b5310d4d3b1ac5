"""What a translation keeps of its source besides the pixels: metadata and transparency."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from exif_blocks import Camera
from PIL import Image, PngImagePlugin

from starcast.errors import OptionError
from starcast.images.fit import fit
from starcast.images.mark import read_mark
from starcast.images.read import read_image, read_stored
from starcast.runtime.folder.translate import translate_all
from starcast.runtime.marks import parse_mark
from starcast.runtime.options import TranslateOptions

IIM = b"\x1c\x02\x50\x00\x03Ann"  # IPTC 2:80, by-line
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Make="Maker"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def _translate(bundle: Path, *sources: Path, **options: object):
    lines: list[str] = []
    options = {"domain": "dog", "backend": "onnxruntime", "threads": 1, **options}
    report = translate_all(bundle, sources, TranslateOptions(**options), progress=lines.append)
    return report, lines


def _photograph(path: Path, **settings: object) -> Path:
    """A JPEG on its side, with everything that a camera and an agency write into it."""
    app13 = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">L", len(IIM)) + IIM
    extra = b"\xff\xed" + struct.pack(">H", len(app13) + 2) + app13
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    exif = b"Exif\0\0" + Camera().photograph()
    settings = {"exif": exif, "xmp": XMP, "extra": extra, "comment": "hello", "dpi": (300, 300), **settings}
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", **settings)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_photographs_metadata_is_in_its_translation(tmp_path, tiny_bundle, suffix):
    source = _photograph(tmp_path / "x.jpg")
    out = tmp_path / f"out{suffix}"
    report, lines = _translate(tiny_bundle, source, output=out)
    assert report.failed == []
    with Image.open(out) as image:
        image.load()
        exif = image.getexif()
        assert (exif[0x010E], exif[0x013B], exif[0x8298], exif[0x0112]) == ("A cat", "Ann", "(c) Ann", 1)
        assert exif.get_ifd(0x8769)[0x9003] == "2001:02:03 04:05:06"
        assert exif.get_ifd(0x8769)[0xA002] == 32  # of the tiny model
        assert exif.get_ifd(0x8825)[2] == (52.0, 31.0, 12.0)
        assert b'tiff:Orientation="1"' in image.info["xmp"]
        assert b'tiff:Make="Maker"' in image.info["xmp"]
        assert "icc_profile" not in image.info
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    kept = read_stored(out).metadata
    if suffix == ".webp":
        assert lines == [
            f"{source}: translated without its IPTC, for which WebP has no place",
            f"{source}: translated without its texts (Comment), for which WebP has no place",
        ]
    else:
        assert (kept.iptc, kept.comment or dict(kept.texts)["Comment"], lines) == (IIM, "hello", [])


def test_a_translation_is_still_known_by_its_mark(tmp_path, tiny_bundle):
    _photograph(tmp_path / "in/x.jpg")
    _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out")
    assert parse_mark(read_mark(tmp_path / "out/x.png")) is not None
    assert _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out")[0].skipped == 1


def test_no_metadata_leaves_out_all_of_it(tmp_path, tiny_bundle):
    source = _photograph(tmp_path / "x.jpg")
    for suffix in (".jpg", ".png", ".webp"):
        out = tmp_path / f"out{suffix}"
        assert _translate(tiny_bundle, source, output=out, metadata=False)[1] == []
        content = out.read_bytes()
        assert not any(word in content for word in (b"Ann", b"Maker", b"2001:02", b"hello"))
        assert parse_mark(read_mark(out)) is not None


def test_each_kind_of_loss_is_one_line_for_a_whole_folder(tmp_path, tiny_bundle):
    for number in range(3):
        _photograph(tmp_path / f"in/{number}.jpg", exif=b"Exif\0\0garbage")
    report, lines = _translate(tiny_bundle, tmp_path / "in", output=tmp_path / "out", domain="all")
    assert (report.done, report.failed) == (9, [])
    assert lines == [f"{tmp_path / 'in/0.jpg'} and 2 more: translated without its EXIF, which is damaged"]


def test_texts_of_a_png_stay_in_a_png(tmp_path, tiny_bundle):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Ann")
    texts.add_itxt("Title", "雪", lang="zh")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=texts)
    _translate(tiny_bundle, tmp_path / "x.png", output=tmp_path / "out.png")
    assert read_stored(tmp_path / "out.png").metadata.texts == (("Author", "Ann"), ("Title", "雪"))
    _, lines = _translate(tiny_bundle, tmp_path / "x.png", output=tmp_path / "out.jpg")
    assert lines == [f"{tmp_path / 'x.png'}: translated without its texts (Author, Title), for which JPEG has no place"]


def test_exif_of_a_png_that_no_jpeg_can_hold_costs_no_image(tmp_path, tiny_bundle):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", exif=exif)
    report, lines = _translate(tiny_bundle, tmp_path / "x.png", output=tmp_path / "out.jpg")
    assert report.done == 1
    assert lines == [f"{tmp_path / 'x.png'}: translated without its EXIF, for which there is no room"]
    _, lines = _translate(tiny_bundle, tmp_path / "x.png", output=tmp_path / "out.webp")
    assert lines == []


def _transparent(path: Path, mode: str = "RGBA", orientation: int = 1) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 96, 4), np.uint8)
    pixels[:20, :, 3] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).convert(mode).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("how", ["stretch", "crop", "pad", "native"])
def test_alpha_is_fitted_as_the_image_is(tmp_path, tiny_bundle, suffix, how):
    source = _transparent(tmp_path / "x.png", orientation=6)
    for name, keep in (("with", True), ("without", False)):
        _translate(tiny_bundle, source, output=tmp_path / f"{name}{suffix}", keep_alpha=keep, fit=how)
    stored = read_stored(source)
    with Image.open(tmp_path / f"with{suffix}") as image, Image.open(tmp_path / f"without{suffix}") as opaque:
        size = (96, 48) if how == "native" else (32, 32)
        np.testing.assert_array_equal(np.asarray(image.getchannel("A")), fit(stored.alpha, size, how))
        np.testing.assert_array_equal(np.asarray(image)[..., :3], np.asarray(opaque))
        assert opaque.mode == "RGB"
        if how == "pad":  # what is not of the source is not seen
            assert not np.asarray(image)[:, :8, 3].any()


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_alpha_of_any_mode_is_kept(tmp_path, tiny_bundle, mode):
    source = _transparent(tmp_path / "x.png", mode)
    _translate(tiny_bundle, source, output=tmp_path / "out.png", keep_alpha=True, fit="native")
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image.getchannel("A")), read_stored(source).alpha)


def test_an_opaque_source_has_an_opaque_translation(tmp_path, tiny_bundle):
    Image.new("RGB", (32, 32)).save(tmp_path / "x.png")
    _translate(tiny_bundle, tmp_path / "x.png", output=tmp_path / "out.png", keep_alpha=True)
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize(("name", "options", "cause"), [
    ("out.jpg", {"keep_alpha": True}, "--keep-alpha needs PNG or WebP"),
    ("out", {"keep_alpha": True, "format": "jpg"}, "--keep-alpha needs PNG or WebP"),
    ("out.png", {"quality": 80}, "--quality is for JPEG and WebP"),
    ("out", {"quality": 80}, "--quality is for JPEG and WebP"),
])  # fmt: skip
def test_what_a_format_cannot_have_is_refused_before_the_work(tmp_path, tiny_bundle, name, options, cause):
    Image.new("RGB", (32, 32)).save(tmp_path / "x.png")
    with pytest.raises(OptionError, match=cause):
        _translate(tiny_bundle, tmp_path / "x.png", output=tmp_path / name, **options)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_quality_is_pillows(tmp_path, tiny_bundle, suffix):
    source = _photograph(tmp_path / "x.jpg")
    for quality in (1, 50, 100):
        _translate(tiny_bundle, source, output=tmp_path / f"{quality}{suffix}", quality=quality, metadata=False)
    sizes = [(tmp_path / f"{quality}{suffix}").stat().st_size for quality in (1, 50, 100)]
    assert sizes == sorted(sizes)
    if suffix == ".jpg":
        Image.fromarray(read_image(source)).save(tmp_path / "pillow.jpg", quality=50)
        with Image.open(tmp_path / "50.jpg") as image, Image.open(tmp_path / "pillow.jpg") as expected:
            assert image.quantization == expected.quantization


@pytest.mark.parametrize("options", [{"quality": 80, "format": "jpg"}, {"keep_alpha": True}, {"metadata": False}])
def test_a_translation_with_other_options_is_not_there_already(tmp_path, tiny_bundle, options):
    source = _photograph(tmp_path / "x.jpg")
    _translate(tiny_bundle, source, output=tmp_path / "out", format=options.get("format", "png"))
    with pytest.raises(OptionError, match="made with a different source, bundle, style or options"):
        _translate(tiny_bundle, source, output=tmp_path / "out", **options)
    report, _ = _translate(tiny_bundle, source, output=tmp_path / "out", overwrite=True, **options)
    assert report.done == 1
    assert _translate(tiny_bundle, source, output=tmp_path / "out", **options)[0].skipped == 1
