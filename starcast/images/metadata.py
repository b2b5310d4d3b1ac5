"""What a file says about its image, as raw blocks: EXIF, XMP, IPTC, comments and resolution."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from PIL import Image, PngImagePlugin, TiffImagePlugin

from starcast.images.pillow import DECODER_ERRORS

EXIF_PREFIX = b"Exif\x00\x00"
IPTC_RESOURCE = 0x0404  # where Photoshop's image resources have IPTC
PNG_COMMENT = "Comment"  # PNG's keyword for what JPEG and GIF call a comment
RAW_PROFILE = "Raw profile type "  # texts in which ImageMagick keeps other formats' metadata in a PNG

_IPTC, _RESOURCES = 0x83BB, 0x8649  # TIFF tags
# TIFF tags about the scene, the maker and the file's use; the others describe how the pixels are stored
_DESCRIPTIVE = (
    0x010D, 0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x011D, 0x0128, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298,
    0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F,
)  # fmt: skip
_EXIF, _GPS, _INTEROP, _MAKER_NOTE = 0x8769, 0x8825, 0xA005, 0x927C
_OTHERS_TEXTS = ("XML:com.adobe.xmp", RAW_PROFILE, "Thumb::")


class Metadata(NamedTuple):
    """The metadata of an image file, unparsed; empty where there is none.

    `exif` begins with a TIFF header. `iptc` holds IIM records. `texts` are a PNG's keywords and texts. `dpi` is
    (horizontal, vertical), of the upright image. `lost` says in clauses what could not be read.
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    comment: str = ""
    texts: tuple[tuple[str, str], ...] = ()
    dpi: tuple[float, float] | None = None
    lost: tuple[str, ...] = ()

    def turned(self) -> Metadata:
        """The same for the image turned by 90 degrees."""
        return self if self.dpi is None else self._replace(dpi=self.dpi[::-1])


def read_metadata(image: Image.Image) -> Metadata:
    """The metadata of an image that is loaded, from a file that is still open. Raises nothing: the pixels are good."""
    try:
        exif, lost = _tiff_exif(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else (_exif(image), ())
    except DECODER_ERRORS:
        exif, lost = b"", ("its EXIF, which is damaged",)
    try:
        xmp, iptc, comment = image.info.get("xmp"), _iptc(image), image.info.get("comment")
        return Metadata(
            exif=exif,
            xmp=xmp if isinstance(xmp, bytes) else b"",
            iptc=iptc,
            comment=_decode(comment) if isinstance(comment, bytes) else "",
            texts=tuple(_texts(image)),
            dpi=_dpi(image.info.get("dpi")),
            lost=lost,
        )
    except DECODER_ERRORS:
        return Metadata(exif=exif, lost=(*lost, "its metadata, which is damaged"))


def _exif(image: Image.Image) -> bytes:
    content = image.info.get("exif")
    if content is None and f"{RAW_PROFILE}exif" in image.info:
        content = _raw_profile(image.info[f"{RAW_PROFILE}exif"])
    return content.removeprefix(EXIF_PREFIX) if isinstance(content, bytes) else b""


def _tiff_exif(image: TiffImagePlugin.TiffImageFile) -> tuple[bytes, tuple[str, ...]]:
    """The descriptive part of a TIFF's directories as an EXIF block of its own, and what is not in it.

    Maker notes stay out: their offsets count from the beginning of a file that the block is no longer in.
    """
    stored, block = image.getexif(), Image.Exif()
    block.endian = stored.endian
    for tag in _DESCRIPTIVE:
        if tag in stored:
            block[tag] = stored[tag]
    lost = False
    for tag in (_EXIF, _GPS):
        directory = dict(stored.get_ifd(tag)) if tag in stored else {}
        directory.pop(_INTEROP, None)
        lost = directory.pop(_MAKER_NOTE, None) is not None or lost
        if directory:
            block[tag] = directory
    content = block.tobytes() if len(block) else b""
    return content.removeprefix(EXIF_PREFIX), ("the camera maker's notes in its EXIF",) if lost else ()


def _iptc(image: Image.Image) -> bytes:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        stored = image.tag_v2.get(_IPTC)
        if isinstance(stored, tuple) and all(isinstance(word, int) for word in stored):  # written as 32-bit numbers
            stored = struct.pack(f"{image.tag_v2._endian}{len(stored)}L", *stored)
        if stored is None and isinstance(image.tag_v2.get(_RESOURCES), bytes):
            stored = image.get_photoshop_blocks().get(IPTC_RESOURCE, {}).get("data")
    elif f"{RAW_PROFILE}iptc" in image.info:
        stored = _raw_profile(image.info[f"{RAW_PROFILE}iptc"])
        if stored.startswith(b"8BIM"):
            size = int.from_bytes(stored[8:12], "big")
            stored = stored[12 : 12 + size] if int.from_bytes(stored[4:6], "big") == IPTC_RESOURCE else b""
    else:
        resources = image.info.get("photoshop")
        stored = resources.get(IPTC_RESOURCE) if isinstance(resources, dict) else None
    return stored if isinstance(stored, bytes) else b""


def _texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    if isinstance(image, PngImagePlugin.PngImageFile):
        for keyword, text in image.text.items():
            if isinstance(text, str) and not keyword.startswith(_OTHERS_TEXTS):
                yield keyword, text


def _raw_profile(text: str) -> bytes:
    """The bytes in a text of ImageMagick: a name, a length, and hexadecimal digits, on lines of their own."""
    return bytes.fromhex("".join(text.split("\n")[3:]))


def _decode(comment: bytes) -> str:
    text = comment.rstrip(b"\0")
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _dpi(stored: Any) -> tuple[float, float] | None:
    """A resolution that every format can hold, or None."""
    if not isinstance(stored, tuple) or len(stored) != 2:
        return None
    across, down = float(stored[0]), float(stored[1])
    return (across, down) if 1 <= across <= 65535 and 1 <= down <= 65535 else None
