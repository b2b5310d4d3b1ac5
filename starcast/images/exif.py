"""EXIF of an image whose pixels are others now: what is no longer true is corrected or left out, the rest stays.

A block of EXIF is a TIFF header and directories of tags. Values that stay keep their type and bytes. Camera makers'
notes also stay where they were: most count their offsets from the beginning of the block. Thumbnails are in a second
directory, which is left out.
Source: CIPA DC-008 (Exif 3.0), chapter 4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_IMAGE, _EXIF, _GPS, _INTEROP = "image", "exif", "gps", "interoperability"
_POINTERS = {_IMAGE: {0x8769: _EXIF, 0x8825: _GPS}, _EXIF: {0xA005: _INTEROP}, _GPS: {}, _INTEROP: {}}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}  # by type
_ASCII, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5

_ORIENTATION, _SOFTWARE, _MAKER_NOTE = 0x0112, 0x0131, 0x927C
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _INCH = 0x011A, 0x011B, 0x0128, 2
_COLOUR_SPACE, _WIDTH, _HEIGHT, _SRGB = 0xA001, 0xA002, 0xA003, 1
_INDEX = 0x0001

# what describes the stored pixels of the source: their layout, colours, places in the image; and what has a place of
# its own in a file (XMP, IPTC, ICC profile)
_FALSE_NOW = {
    _IMAGE: {
        0x00FE, 0x00FF, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x010A, 0x0111, 0x0115, 0x0116, 0x0117, 0x011C, 0x0122,
        0x0123, 0x012D, 0x013D, 0x013E, 0x013F, 0x0140, 0x0142, 0x0143, 0x0144, 0x0145, 0x014A, 0x0152, 0x0153, 0x0156,
        0x015B, 0x0201, 0x0202, 0x0211, 0x0212, 0x0213, 0x0214, 0x02BC, 0x830E, 0x8482, 0x85D8, 0x83BB, 0x8649, 0x8773,
        0xC4A5,
    },
    _EXIF: {0x9102, 0x9214, 0xA20E, 0xA20F, 0xA210, 0xA214, 0xA500},
    _GPS: set(),
    _INTEROP: {0x1000, 0x1001, 0x1002},
}  # fmt: skip


@dataclass(frozen=True)
class _Value:
    kind: int
    count: int
    content: bytes


@dataclass
class _Block:
    order: str  # "<" or ">", as in `struct`
    tags: dict[str, dict[int, _Value]] = field(default_factory=dict)  # by directory
    note_at: int = 0  # where the maker's notes were
    is_damaged: bool = False
    room: int = 0  # for values that are still to be read


def update_exif(
    stored: bytes, *, software: str | None, size: tuple[int, int], dpi: tuple[float, float] | None, room: int
) -> tuple[bytes, list[str]]:
    """(a block for an upright image in sRGB of `size` = (height, width), what had to be left out, as clauses).

    `stored` begins with a TIFF header, or is empty; `software` is ASCII, or None to keep what is stored. The new block
    has at most `room` bytes; what does not fit is left out, first the maker's notes. Raises nothing: a block that
    cannot be read is left out.
    """
    lost = []
    try:
        block = _parse(stored) if stored else _Block(">", {_IMAGE: {}})
        if block.is_damaged:
            lost.append("parts of its EXIF, which are damaged")
    except (struct.error, ValueError, KeyError):
        block = _Block(">", {_IMAGE: {}})
        lost.append("its EXIF, which is damaged")
    _correct(block, size)
    _set_own(block, software, dpi)
    content = _serialise(block)
    if len(content) > room and _MAKER_NOTE in block.tags.get(_EXIF, {}):
        del block.tags[_EXIF][_MAKER_NOTE]
        lost.append("the camera maker's notes in its EXIF, for which there is no room")
        content = _serialise(block)
    if len(content) > room:
        block = _Block(">", {_IMAGE: {}})
        _set_own(block, software, dpi)
        lost = ["its EXIF, for which there is no room"]
        content = _serialise(block)
    return content, lost


def _correct(block: _Block, size: tuple[int, int]) -> None:
    """Let the tags describe upright pixels in sRGB of another size."""
    for name, tags in block.tags.items():
        for tag in _FALSE_NOW[name] & tags.keys():
            del tags[tag]
    if _ORIENTATION in block.tags[_IMAGE]:
        block.tags[_IMAGE][_ORIENTATION] = _numbers(block, _SHORT, 1)
    exif = block.tags.get(_EXIF, {})
    for tag, kind, number in ((_COLOUR_SPACE, _SHORT, _SRGB), (_WIDTH, _LONG, size[1]), (_HEIGHT, _LONG, size[0])):
        if tag in exif:
            exif[tag] = _numbers(block, kind, number)
    interop = block.tags.get(_INTEROP, {})
    if interop.get(_INDEX, _Value(0, 0, b"")).content.startswith(b"R03"):  # says Adobe RGB
        interop[_INDEX] = _Value(_ASCII, 4, b"R98\0")


def _set_own(block: _Block, software: str | None, dpi: tuple[float, float] | None) -> None:
    tags = block.tags[_IMAGE]
    if software is not None:
        content = software.encode("ascii") + b"\0"
        tags[_SOFTWARE] = _Value(_ASCII, len(content), content)
    if dpi is not None and _X_RESOLUTION not in tags:
        tags[_X_RESOLUTION] = _numbers(block, _RATIONAL, round(dpi[0] * 1000), 1000)
        tags[_Y_RESOLUTION] = _numbers(block, _RATIONAL, round(dpi[1] * 1000), 1000)
        tags[_RESOLUTION_UNIT] = _numbers(block, _SHORT, _INCH)


def _numbers(block: _Block, kind: int, *numbers: int) -> _Value:
    code = {_SHORT: "H", _LONG: "L", _RATIONAL: "L"}[kind]
    content = struct.pack(f"{block.order}{len(numbers)}{code}", *numbers)
    return _Value(kind, len(content) // _BYTES[kind], content)


def _parse(content: bytes) -> _Block:
    """The directories of a block, without the thumbnail's. Raises ValueError, KeyError or struct.error."""
    order = {b"II*\0": "<", b"MM\0*": ">"}[content[:4]]
    # a few values share their bytes in real files; if thousands did, they would fill the memory
    block = _Block(order, room=2 * len(content))
    (offset,) = struct.unpack_from(f"{order}L", content, 4)
    _read_directory(block, _IMAGE, content, offset)
    return block


def _read_directory(block: _Block, name: str, content: bytes, offset: int) -> None:
    (count,) = struct.unpack_from(f"{block.order}H", content, offset)
    tags = block.tags[name] = {}
    for place in range(offset + 2, offset + 2 + 12 * count, 12):
        if place + 12 > len(content):
            block.is_damaged = True
            break
        tag, kind, values = struct.unpack_from(f"{block.order}HHL", content, place)
        size, at = _BYTES.get(kind, 0) * values, place + 8
        if size > 4:
            (at,) = struct.unpack_from(f"{block.order}L", content, at)
        if not size or at + size > len(content) or tag in tags:
            block.is_damaged = block.is_damaged or at + size > len(content) or kind not in _BYTES
        elif tag in _POINTERS[name]:
            if kind in (_LONG, 13) and values == 1:
                _read_below(block, _POINTERS[name][tag], content, at)
        else:
            block.room -= size
            if block.room < 0:
                raise ValueError("values share their bytes")
            tags[tag] = _Value(kind, values, content[at : at + size])
            if name == _EXIF and tag == _MAKER_NOTE:
                block.note_at = at if size > 4 else 0


def _read_below(block: _Block, name: str, content: bytes, at: int) -> None:
    (offset,) = struct.unpack_from(f"{block.order}L", content, at)
    try:
        if name not in block.tags:
            _read_directory(block, name, content, offset)
    except struct.error:
        block.tags.pop(name, None)
        block.is_damaged = True


def _serialise(block: _Block) -> bytes:
    """The block, in as few bytes as there can be with the maker's notes at their place."""
    directories = {name: dict(tags) for name, tags in block.tags.items() if tags or name == _IMAGE}
    for name in (_EXIF, _IMAGE):
        for tag, below in _POINTERS[name].items():
            if name in directories and below in directories:
                directories[name][tag] = _numbers(block, _LONG, 0)  # until its place is known
    layout = _Layout(directories.get(_EXIF, {}).get(_MAKER_NOTE), block.note_at)
    places = {name: layout.place(2 + 12 * len(tags) + 4) for name, tags in directories.items()}
    for name, tags in directories.items():
        for tag, below in _POINTERS[name].items():
            if tag in tags:
                tags[tag] = _numbers(block, _LONG, places[below])
    content = bytearray(layout.end)
    content[:8] = struct.pack(f"{block.order}2sHL", b"II" if block.order == "<" else b"MM", 42, places[_IMAGE])
    for name, tags in directories.items():
        entries = struct.pack(f"{block.order}H", len(tags))
        for tag, value in sorted(tags.items()):
            entries += struct.pack(f"{block.order}HHL", tag, value.kind, value.count)
            if len(value.content) <= 4:
                entries += value.content.ljust(4, b"\0")
                continue
            pinned = tag == _MAKER_NOTE and layout.note_at
            at = layout.note_at if pinned else layout.place(len(value.content))
            content.extend(bytes(layout.end - len(content)))
            content[at : at + len(value.content)] = value.content
            entries += struct.pack(f"{block.order}L", at)
        content[places[name] : places[name] + len(entries)] = entries
    return bytes(content)


class _Layout:
    """Places in a block, at even offsets, around the maker's notes."""

    def __init__(self, note: _Value | None, note_at: int) -> None:
        size = 0 if note is None else len(note.content)
        self.note_at = note_at if size > 4 and note_at >= 8 else 0
        self._before = 8
        self._behind = self.note_at + size + size % 2 if self.note_at else 8

    @property
    def end(self) -> int:
        return max(self._before, self._behind)

    def place(self, size: int) -> int:
        size += size % 2
        if self.note_at and self._before + size <= self.note_at:
            self._before += size
            return self._before - size
        self._behind += size
        return self._behind - size
