"""Blocks of EXIF, written by hand as a camera does: directories, values, a maker's notes, and a thumbnail."""

from __future__ import annotations

import struct
from dataclasses import dataclass

Entry = tuple[int, int, int, bytes]  # tag, type, count, value

NOTE_AT, NOTE = 512, b"MAKER\0" + bytes(range(58))
THUMBNAIL = b"\xff\xd8 a small copy of the source \xff\xd9"


def text(tag: int, content: str) -> Entry:
    value = content.encode() + b"\0"
    return tag, 2, len(value), value


@dataclass(frozen=True)
class Camera:
    """Writes a block in the byte order `<` or `>`."""

    order: str = ">"

    def short(self, tag: int, *numbers: int) -> Entry:
        return tag, 3, len(numbers), struct.pack(f"{self.order}{len(numbers)}H", *numbers)

    def long(self, tag: int, *numbers: int) -> Entry:
        return tag, 4, len(numbers), struct.pack(f"{self.order}{len(numbers)}L", *numbers)

    def rational(self, tag: int, *numbers: tuple[int, int]) -> Entry:
        return tag, 5, len(numbers), b"".join(struct.pack(f"{self.order}2L", *number) for number in numbers)

    def photograph(self) -> bytes:
        """A block of a photograph that lies on its side: 6000 x 4000, Adobe RGB, with a place and a thumbnail."""
        north = self.rational(2, (52, 1), (31, 1), (12, 1))
        content = bytearray(2048)
        content[:8] = struct.pack(f"{self.order}2sHL", b"MM" if self.order == ">" else b"II", 42, 8)
        content[NOTE_AT : NOTE_AT + len(NOTE)] = NOTE
        content[1900 : 1900 + len(THUMBNAIL)] = THUMBNAIL
        image = [
            text(0x010E, "A cat"), text(0x010F, "Maker"), self.short(0x0112, 6), self.rational(0x011A, (300, 1)),
            self.rational(0x011B, (300, 1)), self.short(0x0128, 2), text(0x0131, "Camera 1.0"),
            text(0x0132, "2001:02:03 04:05:06"), text(0x013B, "Ann"), self.rational(0x013E, (3127, 10000), (329, 1000)),
            text(0x8298, "(c) Ann"), self.long(0x8769, 250), self.long(0x8825, 600),
        ]  # fmt: skip
        exif = [
            text(0x9003, "2001:02:03 04:05:06"), self.short(0x9214, 100, 100, 50, 50), (0x927C, 7, len(NOTE), NOTE),
            self.short(0xA001, 0xFFFF), self.long(0xA002, 6000), self.long(0xA003, 4000), self.long(0xA005, 800),
        ]  # fmt: skip
        gps = [text(1, "N"), north, text(29, "2001:02:03")]
        thumbnail = [self.long(0x0201, 1900), self.long(0x0202, len(THUMBNAIL))]
        self._put(content, 8, image, 1000, below=1500)
        self._put(content, 250, exif, 1200)
        self._put(content, 600, gps, 1300)
        self._put(content, 800, [(1, 2, 4, b"R03\0")], 1400)
        self._put(content, 1500, thumbnail, 1600)
        return bytes(content)

    def _put(self, content: bytearray, at: int, entries: list[Entry], values_at: int, *, below: int = 0) -> None:
        stored = struct.pack(f"{self.order}H", len(entries))
        for tag, kind, count, value in sorted(entries):
            stored += struct.pack(f"{self.order}HHL", tag, kind, count)
            if len(value) <= 4:
                stored += value.ljust(4, b"\0")
                continue
            place = NOTE_AT if tag == 0x927C else values_at
            content[place : place + len(value)] = value
            values_at += (len(value) + 1) // 2 * 2 if tag != 0x927C else 0
            stored += struct.pack(f"{self.order}L", place)
        stored += struct.pack(f"{self.order}L", below)
        content[at : at + len(stored)] = stored
