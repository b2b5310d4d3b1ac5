"""XMP for an image whose pixels have changed: what is no longer true is corrected or left out, the rest stays.

Source: ISO 16684-1, and the namespaces of Adobe, the Metadata Working Group, Google and Apple.
"""

from __future__ import annotations

import codecs
import io
import re
from xml.sax import SAXException, make_parser
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_EXTENDED = "http://ns.adobe.com/xmp/note/"
_FORMAT = ("http://purl.org/dc/elements/1.1/", "format")
_STORAGE = (
    "BitsPerSample", "Compression", "PhotometricInterpretation", "SamplesPerPixel", "PlanarConfiguration",
    "YCbCrSubSampling", "YCbCrPositioning", "YCbCrCoefficients", "TransferFunction", "WhitePoint",
    "PrimaryChromaticities", "ReferenceBlackWhite",
)  # fmt: skip
_PLACES = (
    "CompressedBitsPerPixel", "FocalPlaneXResolution", "FocalPlaneYResolution", "FocalPlaneResolutionUnit",
    "SubjectArea", "SubjectLocation", "Gamma",
)  # fmt: skip
# what describes the pixels of the source, or parts of its file: (namespace, name)
_FALSE_NOW = {
    *((_TIFF, name) for name in _STORAGE),
    *((_EXIF, name) for name in _PLACES),
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"),
    ("http://ns.adobe.com/photoshop/1.0/", "ICCProfile"),
    ("http://www.metadataworkinggroup.com/schemas/regions/", "Regions"),
    ("http://ns.microsoft.com/photo/1.2/", "RegionInfo"),
    *(
        ("http://ns.google.com/photos/1.0/camera/", name)
        for name in (
            "MicroVideo", "MicroVideoVersion", "MicroVideoOffset", "MicroVideoPresentationTimestampUs", "MotionPhoto",
            "MotionPhotoVersion", "MotionPhotoPresentationTimestampUs",
        )
    ),
}  # fmt: skip
# gain maps, depth, sound and other images that lie beside the first one in a file; the angles of a panorama
_FALSE_NAMESPACES = (
    _EXTENDED,
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/",
    "http://ns.apple.com/depthData/",
    "http://ns.apple.com/pixeldatainfo/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/audio/",
    "http://ns.google.com/photos/1.0/panorama/",
    "http://ns.google.com/photos/dd/1.0/",
)
_DEEPEST = 200  # open elements; real packets have about 12
_DECLARES_TYPE = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


class XmpError(ValueError):
    """A packet that cannot be read."""


def update_xmp(packet: bytes, *, size: tuple[int, int], mime: str) -> bytes:
    """The packet for an upright image in sRGB of `size` = (height, width) and of a MIME type. Raises XmpError.

    Names, order and text stay as they are; the space for later edits at its end goes.
    """
    is_utf16 = packet[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    content = packet if is_utf16 else packet.strip(b"\0 \t\r\n")
    if _DECLARES_TYPE.search(content.replace(b"\0", b"")):  # XMP has none, and entities could fill the memory
        raise XmpError("declares a document type")
    height, width = size
    new = {
        (_TIFF, "Orientation"): "1", (_TIFF, "ImageWidth"): str(width), (_TIFF, "ImageLength"): str(height),
        (_EXIF, "PixelXDimension"): str(width), (_EXIF, "PixelYDimension"): str(height), (_EXIF, "ColorSpace"): "1",
        _FORMAT: mime,
    }  # fmt: skip
    text = io.StringIO()
    parser = make_parser()
    parser.setContentHandler(_Editor(text, new))
    try:
        parser.parse(io.BytesIO(content))
    except (SAXException, ValueError, LookupError) as error:
        raise XmpError(str(error)) from error
    return text.getvalue().strip().encode()


def has_more(packet: bytes) -> bool:
    """Whether a packet says that it goes on in another part of its file, which is not read."""
    return b":HasExtendedXMP" in packet


class _Editor(XMLGenerator):
    """Writes what it reads, but gives properties new values, or leaves them out."""

    def __init__(self, out: io.StringIO, new: dict[tuple[str, str], str]) -> None:
        super().__init__(out, encoding="utf-8")
        self._new = new
        self._scopes: list[dict[str, str]] = [{}]  # prefix -> namespace, for each open element
        self._left_out = 0  # open elements inside one that is left out, with it
        self._replacing = 0  # the same inside one whose text is new

    def startDocument(self) -> None:  # noqa: N802  a packet begins without an XML declaration
        pass

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802
        if len(self._scopes) > _DEEPEST:
            raise XmpError("too deep")
        self._scopes.append({**self._scopes[-1], **_declared(attrs)})
        key = self._key(name)
        if self._left_out or self._replacing or _is_false(key):
            self._left_out += not self._replacing
            self._replacing += bool(self._replacing)
            return
        kept = {}
        for attribute, value in attrs.items():
            key_of_attribute = self._key(attribute)
            if not _is_false(key_of_attribute):
                kept[attribute] = self._new.get(key_of_attribute, value)
        super().startElement(name, AttributesImpl(kept))
        if key in self._new:
            super().characters(self._new[key])
            self._replacing = 1

    def endElement(self, name: str) -> None:  # noqa: N802
        self._scopes.pop()
        if self._left_out:
            self._left_out -= 1
            return
        if self._replacing:
            self._replacing -= 1
            if self._replacing:
                return
        super().endElement(name)

    def characters(self, content: str) -> None:
        if not self._left_out and not self._replacing:
            super().characters(content)

    def ignorableWhitespace(self, content: str) -> None:  # noqa: N802
        self.characters(content)

    def processingInstruction(self, target: str, data: str) -> None:  # noqa: N802
        if not self._left_out and not self._replacing:
            super().processingInstruction(target, data)

    def _key(self, name: str) -> tuple[str, str]:
        prefix, _, local = name.rpartition(":")
        return self._scopes[-1].get(prefix, ""), local


def _declared(attributes: AttributesImpl) -> dict[str, str]:
    return {
        name.partition(":")[2]: value
        for name, value in attributes.items()
        if name == "xmlns" or name.startswith("xmlns:")
    }


def _is_false(key: tuple[str, str]) -> bool:
    return key in _FALSE_NOW or key[0].startswith(_FALSE_NAMESPACES)
