"""What a written image says of itself: the source's metadata where the format can hold it, and the mark."""

from __future__ import annotations

import struct
from typing import Any

from PIL import PngImagePlugin

from starcast.images.exif import update_exif
from starcast.images.metadata import EXIF_PREFIX, IPTC_RESOURCE, PNG_COMMENT, RAW_PROFILE, Metadata

_SEGMENT = 65533  # bytes of a JPEG's marker segment
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\x00"
_PHOTOSHOP_HEADER = b"Photoshop 3.0\x00"
_LONGEST_KEYWORD = 79  # of a PNG's text


def embed(
    format_name: str, size: tuple[int, int], *, mark: str | None, metadata: Metadata | None
) -> tuple[dict[str, Any], list[str]]:
    """(keyword arguments for Pillow's `save`, what the file will lack, as clauses).

    `format_name` is JPEG, PNG or WEBP, `size` (height, width). `mark` becomes the EXIF field Software. The image is
    upright and in sRGB, so orientation, sizes and colour space are corrected, and thumbnails and the profile left out.
    """
    stored = metadata or Metadata()
    lost = list(stored.lost)
    settings: dict[str, Any] = {}
    if mark is not None or stored.exif:
        room = _SEGMENT - len(EXIF_PREFIX) if format_name == "JPEG" else 2**31
        exif, missing = update_exif(stored.exif, software=mark, size=size, dpi=stored.dpi, room=room)
        settings["exif"] = EXIF_PREFIX + exif
        lost += missing
    xmp, missing = _xmp(stored.xmp, size, format_name)
    lost += missing
    if stored.dpi is not None:
        settings["dpi"] = stored.dpi
    add = {"JPEG": _add_to_jpeg, "PNG": _add_to_png, "WEBP": _add_to_webp}[format_name]
    return settings, lost + add(settings, stored, xmp)


def _xmp(packet: bytes, size: tuple[int, int], format_name: str) -> tuple[bytes, list[str]]:
    if not packet:
        return b"", []
    from starcast.images.xmp import XmpError, has_more, update_xmp  # the parser loads http.client: 20 ms

    try:
        updated = update_xmp(packet, size=size, mime=f"image/{format_name.lower()}")
    except XmpError:
        return b"", ["its XMP, which is damaged"]
    if format_name == "JPEG" and len(_XMP_HEADER) + len(updated) > _SEGMENT:
        return b"", ["its XMP, for which there is no room in a JPEG"]
    return updated, ["the second part of its XMP, which is not read"] if has_more(packet) else []


def _add_to_jpeg(settings: dict[str, Any], stored: Metadata, xmp: bytes) -> list[str]:
    lost = []
    if xmp:
        settings["xmp"] = xmp
    if stored.iptc:
        block = _PHOTOSHOP_HEADER + _photoshop_resource(stored.iptc)
        if len(block) > _SEGMENT:
            lost.append("its IPTC, for which there is no room in a JPEG")
        else:
            settings["extra"] = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
    texts = dict(stored.texts)
    comment = (stored.comment or texts.pop(PNG_COMMENT, "")).encode(errors="replace")
    if len(comment) > _SEGMENT:
        lost.append("its comment, for which there is no room in a JPEG")
    elif comment:
        settings["comment"] = comment
    return lost + _without_texts(texts, "JPEG")


def _add_to_png(settings: dict[str, Any], stored: Metadata, xmp: bytes) -> list[str]:
    chunks = PngImagePlugin.PngInfo()
    lost = []
    texts = dict(stored.texts)
    if stored.comment:
        texts.setdefault(PNG_COMMENT, stored.comment)
    for keyword, text in texts.items():
        try:
            if not 1 <= len(keyword.encode("latin-1")) <= _LONGEST_KEYWORD:
                raise ValueError(keyword)
            chunks.add_text(keyword, text)
        except ValueError:  # also of an encoding
            lost.append("a text with a keyword that is too long or empty")
    if xmp:
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode())
    if stored.iptc:  # PNG has no place for IPTC: this one is ImageMagick's, which ExifTool and others read
        resource = _photoshop_resource(stored.iptc)
        lines = [resource.hex()[start : start + 72] for start in range(0, 2 * len(resource), 72)]
        chunks.add_text(f"{RAW_PROFILE}iptc", "\n".join(["", "iptc", f"{len(resource):8}", *lines, ""]), zip=True)
    if chunks.chunks:
        settings["pnginfo"] = chunks
    return lost


def _add_to_webp(settings: dict[str, Any], stored: Metadata, xmp: bytes) -> list[str]:
    settings.pop("dpi", None)  # in EXIF, if there is any
    if xmp:
        settings["xmp"] = xmp
    lost = ["its IPTC, for which WebP has no place"] if stored.iptc else []
    texts = dict(stored.texts) | ({PNG_COMMENT: stored.comment} if stored.comment else {})
    return lost + _without_texts(texts, "WebP")


def _without_texts(texts: dict[str, str], format_name: str) -> list[str]:
    if not texts:
        return []
    named = ", ".join(sorted(texts)[:5]) + (" and more" if len(texts) > 5 else "")
    return [f"its texts ({named}), for which {format_name} has no place"]


def _photoshop_resource(iptc: bytes) -> bytes:
    """IPTC as one of Photoshop's image resources, which is how JPEG keeps it."""
    return b"8BIM" + struct.pack(">HHL", IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
