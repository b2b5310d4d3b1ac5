"""What a file is, by its first bytes. Names and extensions are not trusted."""

from __future__ import annotations

from typing import NamedTuple

from starcast.images import heif

HEAD_BYTES = 256  # enough for every signature below, and for the brands of an AVIF or HEIC file

# Pillow's names for the formats that are read. The rest are not: EPS starts a program, and most are untested here.
READ = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "AVIF", "JPEG2000", "PPM", "QOI")
READ_BY_SUFFIX = {".tga": "TGA"}  # no signature: nearly any bytes pass for a TGA
READ_IN_WORDS = "PNG, JPEG, WebP, TIFF, GIF, BMP, AVIF, JPEG 2000, PPM, QOI or TGA"

HOLDS_SEVERAL_SUFFIXES = frozenset({".gif", ".png", ".apng", ".webp", ".tif", ".tiff", ".avif", *heif.SUFFIXES})
_READ_SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".dib",
    ".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi", ".tga",
})  # fmt: skip
# extensions of images, also of those that cannot be read, so that a user hears about them
SUFFIXES = _READ_SUFFIXES | {
    *heif.SUFFIXES, ".jxl", ".svg", ".psd", ".exr", ".hdr", ".ico", ".eps", ".xcf", ".dds", ".pcx", ".sgi",
}  # fmt: skip

# brands in the ftyp box that begins files of ISO's base media format (ISO 14496-12, 4.3): the first is the writer's
# choice, and any of those that follow says as well how the file may be read
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
AVIF_BRANDS_OF_PILLOW = (b"avif", b"avis", b"mif1", b"msf1")  # the first brands with which Pillow reads an AVIF file
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_SEQUENCE_BRANDS = frozenset({b"avis", b"msf1"})
_HEIF_BRANDS = frozenset({b"mif1", b"mif2", b"mif3", b"msf1", b"miaf"})  # of any codec

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_WEBP_FLAGS, _WEBP_ANIMATED = 20, 2  # a byte of the extended header, and a bit in it

# first bytes of the formats that are read; `has_signature` checks for WebP and AVIF itself
_SIGNATURES = (
    b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", *_TIFF, b"\xff\x4f\xff\x51",
    b"\x00\x00\x00\x0cjP  ", b"qoif", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"PF",
)  # fmt: skip

_SAVE = "save it as PNG or JPEG and give that"
_VIDEO = "give it to `starcast video`"
_UNPACK = "unpack it and give the images"
_LEAVE = "leave it out"

# known formats that are not read: (offset, bytes, what it is, what to do)
_FOREIGN: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"8BPS", "a Photoshop document", _SAVE),
    (0, b"%PDF", "a PDF document", _SAVE),
    (0, b"%!PS", "a PostScript drawing", _SAVE),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript drawing", _SAVE),
    (4, b"ftypcrx ", "a raw photograph (CR3)", _SAVE),
    (0, b"FUJIFILMCCD-RAW", "a raw photograph (RAF)", _SAVE),
    (0, b"IIU\x00", "a raw photograph (RW2)", _SAVE),
    (0, b"IIRO", "a raw photograph (ORF)", _SAVE),
    (8, b"CR\x02\x00", "a raw photograph (CR2)", _SAVE),
    (0, b"\xff\x0a", "a JPEG XL image", _SAVE),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image", _SAVE),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", _SAVE),
    (0, b"#?RADIANCE", "a Radiance HDR image", _SAVE),
    (0, b"\x00\x00\x01\x00", "an icon", _SAVE),
    (0, b"gimp xcf", "a GIMP document", _SAVE),
    (0, b"DDS ", "a DDS texture", _SAVE),
    (0, b"PK\x03\x04", "a ZIP archive", _UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"\x7fELF", "a program", _LEAVE),
    (0, b"MZ", "a program", _LEAVE),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska)", _VIDEO),
    (4, b"ftypiso", "a video (MP4)", _VIDEO),
    (4, b"ftypmp4", "a video (MP4)", _VIDEO),
    (4, b"ftypM4V", "a video (MP4)", _VIDEO),
    (4, b"ftypqt", "a video (QuickTime)", _VIDEO),
    (8, b"AVI ", "a video (AVI)", _VIDEO),
    (8, b"WAVE", "a sound", _LEAVE),
    (0, b"ID3", "a sound", _LEAVE),
    (0, b"OggS", "a sound or a video (Ogg)", _VIDEO),
    (0, b"version https://git-lfs", "a Git LFS pointer and not the file itself", "fetch it with `git lfs pull`"),
)
_RAW_SUFFIXES = frozenset({
    ".dng", ".nef", ".arw", ".cr2", ".pef", ".srw", ".3fr", ".iiq", ".erf", ".kdc", ".dcr", ".mrw", ".nrw", ".rwl",
})  # fmt: skip


class Foreign(NamedTuple):
    """A known format that is not read: what the file is, what to do with it, and whether FFmpeg or pillow-heif may read
    it."""

    name: str
    advice: str
    is_video: bool = False
    is_heif: bool = False


def identify_foreign(head: bytes, suffix: str) -> Foreign | None:
    """A file's format if it is a known one that is not read; None if the file may be a readable image.

    `head` holds the file's first HEAD_BYTES; `suffix` is as in `Path`.
    """
    if is_avif(head):
        return None
    brands = _brands_of(head)
    if brands & _HEIC_BRANDS:
        return Foreign("a HEIC photograph", f"{heif.INSTALL}, or {_SAVE}", is_heif=True)
    if brands & _HEIF_BRANDS:
        return Foreign("a HEIF photograph", f"{heif.INSTALL}, or {_SAVE}", is_heif=True)
    for offset, signature, what, step in _FOREIGN:
        if head[offset : offset + len(signature)] == signature:
            return Foreign(what, step, is_video=step is _VIDEO)
    if suffix.lower() in _RAW_SUFFIXES:  # TIFF files whose first image is a thumbnail
        return Foreign(f"a raw photograph ({suffix[1:].upper()})", _SAVE)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")):
        drawing = b"<svg" in start or suffix.lower() == ".svg"
        return Foreign("an SVG drawing", _SAVE) if drawing else Foreign("an XML document", _LEAVE)
    if start.startswith((b"<!doctype html", b"<html")):
        return Foreign("a web page", "download the image itself")
    return None


def looks_like_text(head: bytes) -> bool:
    """Whether the first bytes are printable ASCII."""
    return bool(head) and all(byte in b"\t\r\n\f" or 32 <= byte < 127 for byte in head)


def has_signature(head: bytes) -> bool:
    """Whether the first bytes are those of a format that is read, whatever follows."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or is_avif(head) or head.startswith(_SIGNATURES)


def may_hold_several(head: bytes) -> bool:
    """Whether a file may hold several frames or pages, by its first bytes. Photographs with a second image in an MPO
    file look like any JPEG: no."""
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head or b"IDAT" not in head  # the animation's header comes before the pixels
    if head[:4] == b"RIFF":
        return head[12:16] == b"VP8X" and len(head) > _WEBP_FLAGS and bool(head[_WEBP_FLAGS] & _WEBP_ANIMATED)
    brands = _brands_of(head)
    return head.startswith((b"GIF8", *_TIFF)) or bool(brands & _SEQUENCE_BRANDS or brands & _HEIC_BRANDS)


def is_avif(head: bytes) -> bool:
    """Whether the first bytes are those of an AVIF image or sequence."""
    return bool(_brands_of(head) & _AVIF_BRANDS)


def _brands_of(head: bytes) -> frozenset[bytes]:
    """The brands in the ftyp box that begins a file; empty if there is no such box."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset(head[at : at + 4] for at in (8, *range(16, end - 3, 4)))


def looks_like_image(head: bytes) -> bool:
    """Whether the first bytes promise an image in a format that is read."""
    return has_signature(head) and not looks_like_text(head)


def has_read_suffix(suffix: str) -> bool:
    """Whether the name promises an image in a format that is read."""
    suffix = suffix.lower()
    return suffix in _READ_SUFFIXES or (suffix in heif.SUFFIXES and heif.is_installed())


def has_image_suffix(suffix: str) -> bool:
    """Whether the name promises an image, readable or not."""
    return suffix.lower() in SUFFIXES or suffix.lower() in _RAW_SUFFIXES
