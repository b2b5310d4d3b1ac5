"""Files as they come from cameras, scanners, editors and enemies: one scene in every format, and what cannot be read.

The scene has another colour in each quarter, so that a wrong turn, a swapped channel or a wrong scale shows.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, features

from starcast.images import heif

HEIGHT, WIDTH = 48, 64
QUARTERS = ((200, 40, 30), (30, 160, 60), (40, 60, 190), (220, 210, 90))  # top left, top right, below left, below right
GREYS = (20, 90, 160, 240)


def scene() -> NDArray[np.uint8]:
    """uint8 [48, 64, 3]."""
    return _quartered(np.array(QUARTERS, np.uint8))


def grey_scene() -> NDArray[np.uint8]:
    """uint8 [48, 64]."""
    return _quartered(np.array(GREYS, np.uint8))


def _quartered(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = np.empty((HEIGHT, WIDTH, *values.shape[1:]), np.uint8)
    rows, columns = HEIGHT // 2, WIDTH // 2
    picture[:rows, :columns], picture[:rows, columns:], picture[rows:, :columns], picture[rows:, columns:] = values
    return picture


def encoded(picture: Image.Image, format_name: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=format_name, **settings)
    return buffer.getvalue()


def turned_away(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The picture stored so that a viewer that honours `orientation` shows it upright."""
    stored = {
        1: picture, 2: ImageOps.mirror(picture), 3: picture.rotate(180), 4: ImageOps.flip(picture),
        5: picture.transpose(Image.Transpose.TRANSPOSE), 6: picture.transpose(Image.Transpose.ROTATE_90),
        7: picture.transpose(Image.Transpose.TRANSVERSE), 8: picture.transpose(Image.Transpose.ROTATE_270),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored, exif


def deep(picture: NDArray[np.uint8], extension: str) -> bytes:
    """16 bits a channel, white at 65535."""
    order = [2, 1, 0, 3][: picture.shape[2]] if picture.ndim == 3 else ...
    wide = picture.astype(np.uint16) * 257
    done, content = cv2.imencode(extension, wide[..., order] if picture.ndim == 3 else wide)
    assert done
    return content.tobytes()


def swapped_profile() -> bytes:
    """An RGB profile whose first channel is what is commonly the third: its pictures are wrong unless it is applied."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table = [132 + 12 * number for number in range(struct.unpack(">I", profile[128:132])[0])]
    tags = {profile[at : at + 4]: at for at in table}
    content = bytearray(profile)
    content[tags[b"rXYZ"] + 4 : tags[b"rXYZ"] + 12] = profile[tags[b"bXYZ"] + 4 : tags[b"bXYZ"] + 12]
    content[tags[b"bXYZ"] + 4 : tags[b"bXYZ"] + 12] = profile[tags[b"rXYZ"] + 4 : tags[b"rXYZ"] + 12]
    return bytes(content)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_png_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """The chunk put in after the header."""
    return png[:33] + png_chunk(kind, content) + png[33:]


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and has a few bytes of data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + png_chunk(b"IEND", b"")


def on_white(alpha: int) -> NDArray[np.uint8]:
    """The scene with this opacity on white."""
    share = alpha / 255
    return np.rint(scene() * share + 255 * (1 - share)).astype(np.uint8)


def readable() -> dict[str, tuple[bytes, NDArray[np.uint8], int]]:
    """File name -> (content, what must be read, how many grey levels it may differ inside a quarter)."""
    rgb, grey = Image.fromarray(scene()), Image.fromarray(grey_scene())
    colour, levels = scene(), np.repeat(grey_scene()[..., None], 3, axis=2)
    files: dict[str, tuple[bytes, NDArray[np.uint8], int]] = {}

    def add(name: str, content: bytes, expected: NDArray[np.uint8] = colour, tolerance: int = 0) -> None:
        files[name] = (content, expected, tolerance)

    for orientation in range(1, 9):
        stored, exif = turned_away(rgb, orientation)
        add(f"turned-{orientation}.jpg", encoded(stored, "JPEG", exif=exif, quality=95), colour, 6)
        add(f"turned-{orientation}.png", encoded(stored, "PNG", exif=exif))
        add(f"turned-{orientation}.webp", encoded(stored, "WEBP", exif=exif, lossless=True))
        add(f"turned-{orientation}.tiff", encoded(stored, "TIFF", exif=exif))
    add("plain.bmp", encoded(rgb, "BMP"))
    add("plain.ppm", encoded(rgb, "PPM"))
    add("plain.tga", encoded(rgb, "TGA"))
    add("plain.qoi", encoded(rgb, "QOI"))
    if features.check("avif"):
        add("plain.avif", encoded(rgb, "AVIF", quality=95, subsampling="4:4:4"), colour, 8)
        stored, exif = turned_away(rgb, 6)
        avif = encoded(rgb, "AVIF", quality=95, subsampling="4:4:4")
        for brand in ("mif1", "msf1", "miaf", "MA1B"):  # the first of several; avif is among the others
            add(f"first-brand-{brand}.avif", avif[:8] + brand.encode() + avif[12:], colour, 8)
        add("really-an-avif.jpg", avif[:8] + b"mif1" + avif[12:], colour, 8)
        add("really-an-avif.png", avif, colour, 8)
        add("turned.avif", encoded(stored, "AVIF", quality=95, subsampling="4:4:4", exif=exif), colour, 8)
    add("plain.jp2", encoded(rgb, "JPEG2000"))
    add("plain.gif", encoded(rgb.quantize(16), "GIF"), colour, 2)
    add("progressive.JPEG", encoded(rgb, "JPEG", quality=95, progressive=True), colour, 6)
    add("lzw.tif", encoded(rgb, "TIFF", compression="tiff_lzw"))
    add("grey.png", encoded(grey, "PNG"), levels)
    add("grey.jpg", encoded(grey, "JPEG", quality=95), levels, 6)
    add("palette.png", encoded(rgb.quantize(16), "PNG"), colour, 2)
    add("one-bit.png", encoded(grey.point(lambda v: 255 * (v > 128)).convert("1", dither=Image.Dither.NONE), "PNG"),
        np.where(levels > 128, 255, 0).astype(np.uint8))  # fmt: skip
    for alpha in (0, 128, 255):
        clear = rgb.copy()
        clear.putalpha(alpha)
        add(f"alpha-{alpha}.png", encoded(clear, "PNG"), on_white(alpha), 1)
        add(f"alpha-{alpha}.webp", encoded(clear, "WEBP", lossless=True, exact=True), on_white(alpha), 1)
        add(f"alpha-{alpha}.tif", encoded(clear, "TIFF"), on_white(alpha), 1)
    clear_grey = grey.convert("LA")
    clear_grey.putalpha(128)
    add("grey-alpha.png", encoded(clear_grey, "PNG"), np.rint(levels / 255 * 128 + 127).astype(np.uint8), 1)
    quantized = rgb.quantize(4)
    first = quantized.getpixel((0, 0))
    add("palette-clear.png", encoded(quantized, "PNG", transparency=first), _first_white(colour), 2)
    add("palette-clear.gif", encoded(quantized, "GIF", transparency=first), _first_white(colour), 2)
    add("colour-clear.png", encoded(rgb, "PNG", transparency=QUARTERS[0]), _first_white(colour))
    add("grey-clear.png", encoded(grey, "PNG", transparency=GREYS[0]), _first_white(levels))
    add("cmyk.jpg", encoded(rgb.convert("CMYK"), "JPEG", quality=95), colour, 8)
    add("cmyk.tif", encoded(rgb.convert("CMYK"), "TIFF"), colour, 2)
    add("ycbcr.tif", encoded(rgb.convert("YCbCr"), "TIFF"), colour, 3)
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    add("lab.tif", encoded(ImageCms.applyTransform(rgb, to_lab), "TIFF"), colour, 4)
    for extension in (".png", ".tiff"):
        add(f"deep-grey{extension}", deep(grey_scene(), extension), levels)
        add(f"deep-colour{extension}", deep(colour, extension), colour, 1)
        add(f"deep-alpha{extension}", deep(np.dstack([colour, np.full((HEIGHT, WIDTH), 128, np.uint8)]), extension),
            on_white(128), 1)  # fmt: skip
    add("deep.pgm", f"P5 {WIDTH} {HEIGHT} 65535\n".encode() + (grey_scene().astype(">u2") * 257).tobytes(), levels)
    floats = grey_scene().astype(np.float32)
    add("float-to-1.tif", encoded(Image.fromarray(floats / 255), "TIFF"), levels)
    add("float-to-255.tif", encoded(Image.fromarray(floats), "TIFF"), levels)
    add("int-32.tif", encoded(Image.fromarray(grey_scene().astype(np.int32) * 257), "TIFF"), levels)
    add("profile-srgb.png", encoded(rgb, "PNG", icc_profile=_srgb()))
    swapped = Image.fromarray(np.ascontiguousarray(colour[..., ::-1]))
    add("profile-swapped.png", encoded(swapped, "PNG", icc_profile=swapped_profile()), colour, 3)
    add("profile-swapped.jpg", encoded(swapped, "JPEG", quality=95, icc_profile=swapped_profile()), colour, 12)
    add("profile-broken.png", encoded(rgb, "PNG", icc_profile=b"no profile at all" * 20))
    add("profile-of-grey-in-colour.png", encoded(rgb, "PNG", icc_profile=_srgb().replace(b"RGB ", b"GRAY", 1)))
    other = Image.fromarray(255 - colour)
    add("moving.gif", encoded(rgb.quantize(16), "GIF", save_all=True, append_images=[other.quantize(16)]), colour, 2)
    add("moving.webp", encoded(rgb, "WEBP", save_all=True, append_images=[other], lossless=True))
    add("moving.apng", encoded(rgb, "PNG", save_all=True, append_images=[other]))
    add("pages.tiff", encoded(rgb, "TIFF", save_all=True, append_images=[other]))
    add("pages.mpo", encoded(rgb, "MPO", save_all=True, append_images=[other], quality=95), colour, 6)
    add("exif-broken.jpg", encoded(rgb, "JPEG", quality=95, exif=b"Exif\0\0nonsense" * 3), colour, 6)
    add("really-a-png.jpg", encoded(rgb, "PNG"))
    add("no-suffix", encoded(rgb, "PNG"))
    add("UPPER CASE.PNG", encoded(rgb, "PNG"))
    add("Ünïcödé – 画像 🐈.png", encoded(rgb, "PNG"))
    add("x" * 240 + ".png", encoded(rgb, "PNG"))
    add("rubbish-after-the-end.png", encoded(rgb, "PNG") + b"rubbish" * 100)
    add(
        "thin.png", encoded(Image.new("RGB", (1, 300), QUARTERS[0]), "PNG"), np.full((300, 1, 3), QUARTERS[0], np.uint8)
    )
    return files


def unreadable() -> dict[str, tuple[bytes, str]]:
    """File name -> (content, a part of the sentence that must come)."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    png, jpeg = encoded(rgb, "PNG"), encoded(rgb, "JPEG")
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    heic, some_codec = ("damaged",) * 2 if heif.is_installed() else ("a HEIC photograph", "a HEIF photograph")
    files = {
        "empty.png": (b"", "empty"),
        "text.jpg": (b"These are my holiday photos.\n" * 9, "text file"),
        "web-page.png": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        "cut-in-the-header.png": (png[:20], "damaged"),
        "half.png": (png[: len(png) // 2], "damaged"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "damaged"),
        "half.webp": (_half(encoded(rgb, "WEBP", lossless=True)), "damaged"),
        "half.tiff": (_half(encoded(rgb, "TIFF")), "damaged"),
        "half-lzw.tiff": (_half(encoded(rgb, "TIFF", compression="tiff_lzw")), "damaged"),
        "half.bmp": (_half(encoded(rgb, "BMP")), "damaged"),
        "half.gif": (_half(encoded(rgb.quantize(64), "GIF")), "damaged"),
        "half.jp2": (_half(encoded(rgb, "JPEG2000")), "damaged"),
        "half.ppm": (_half(encoded(rgb, "PPM")), "damaged"),
        "signature-only.png": (b"\x89PNG\r\n\x1a\n", "damaged"),
        "signature-only.jpg": (b"\xff\xd8\xff\xe0", "damaged"),
        "bad-checksum.png": (png[:60] + bytes([png[60] ^ 0xFF]) + png[61:], "damaged"),
        "no-pixels.png": (png_header(0, 0), "damaged"),
        "no-rows.bmp": (_bmp_of(7, 0), "damaged"),
        "huge.png": (png_header(60_000, 60_000), "--max-pixels"),
        "overflowing.png": (png_header(2**31 - 1, 2**31 - 1), "--max-pixels"),
        "text-bomb.png": (with_png_chunk(png, b"zTXt", b"Comment\0\0" + bomb), "damaged"),
        "noise.jpg": (np.random.default_rng(1).bytes(5000), "not an image"),
        "zeros.png": (bytes(5000), "not an image"),
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>', "SVG"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(200), heic),
        "phone.jpg": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(200), heic),
        "burst.png": (b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc" + bytes(200), heic),
        "some-codec.jpg": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf" + bytes(200), some_codec),
        "layers.psd": (b"8BPS\0\1" + bytes(200), "Photoshop"),
        "paper.png": (b"%PDF-1.7\n" + bytes(200), "PDF"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n" * 4, "PostScript"),
        "negative.dng": (encoded(rgb, "TIFF"), "raw photograph"),
        "new.jxl": (b"\xff\x0a" + bytes(200), "JPEG XL"),
        "archive.png": (b"PK\x03\x04" + bytes(200), "ZIP"),
        "film.jpg": (b"\0\0\0\x20ftypisom" + bytes(200), "starcast video"),
        "program.png": (b"\x7fELF" + bytes(200), "program"),
        "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
    }
    return files


def make(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def largest_difference(picture: NDArray[np.uint8], expected: NDArray[np.uint8]) -> int:
    """Over the pixels further than 8 from a border between quarters, where lossy formats ring."""
    assert picture.shape == expected.shape
    if min(picture.shape[:2]) < 32:
        return int(np.abs(picture.astype(int) - expected).max())
    keep = np.ones(picture.shape[:2], bool)
    keep[picture.shape[0] // 2 - 8 : picture.shape[0] // 2 + 8] = False
    keep[:, picture.shape[1] // 2 - 8 : picture.shape[1] // 2 + 8] = False
    return int(np.abs(picture.astype(int) - expected)[keep].max())


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _first_white(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    changed = picture.copy()
    changed[: HEIGHT // 2, : WIDTH // 2] = 255
    return changed


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _bmp_of(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)
