"""The contact sheet of a preview: moments of a film, each as the source beside its translation."""

from __future__ import annotations

import io
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from starcast.atomic import write_bytes
from starcast.errors import printable
from starcast.images.read import SOFTWARE
from starcast.runtime.video.timeline.course import Course

_COLUMNS = 3
_TALL, _WIDE = 200, 400  # of an image, at most
_GAP, _TEXT = 8, 20
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_QUALITY = 90
_LONGEST_TEXT = 60


class Moment(NamedTuple):
    """What a film shows at a time, before and after, RGB uint8 [H, W, 3]; `style` names the style then."""

    at_s: Fraction
    style: str
    source: NDArray[np.uint8]
    translation: NDArray[np.uint8]


def write_sheet(path: Path, moments: Sequence[Moment], mark: str) -> None:
    """Write the moments as a JPEG with a mark. Raises OSError."""
    pairs = [[_small(moment.source), _small(moment.translation)] for moment in moments]
    width = max((sum(image.width for image in pair) for pair in pairs), default=_WIDE) + 2 * _GAP
    height = max((image.height for pair in pairs for image in pair), default=0) + _TEXT + 2 * _GAP
    columns = max(1, min(_COLUMNS, len(pairs)))
    sheet = Image.new("RGB", (columns * width, max(1, math.ceil(len(pairs) / columns)) * height), _WHITE)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (moment, (before, after)) in enumerate(zip(moments, pairs, strict=True)):
        left, top = number % columns * width + _GAP, number // columns * height + _GAP
        text = f"{shown_time(moment.at_s)}  {printable(moment.style)}"[:_LONGEST_TEXT]
        draw.text((left, top), text.encode("latin-1", "replace").decode("latin-1"), fill=_BLACK, font=font)
        sheet.paste(before, (left, top + _TEXT))
        sheet.paste(after, (left + before.width, top + _TEXT))
    exif = Image.Exif()
    exif[SOFTWARE] = mark
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=_QUALITY, exif=exif)
    write_bytes(path, content.getvalue())


def style_at(course: Course, facts: Sequence[Mapping[str, Any]], at_s: Fraction) -> str:
    """The name of the style at a time; of those before and after it, where it is between two."""
    names = [str(facts[number].get("label", "")) for number in course.order]
    begins_s = course.times_s[0]
    if course.period_s is not None:
        at_s = begins_s + (at_s - begins_s) % course.period_s
    behind = bisect_right(course.times_s, at_s)
    if behind == 0:
        return names[0]
    if behind == len(names) and course.period_s is None:
        return names[-1]
    earlier, later = names[behind - 1], names[behind % len(names)]
    if earlier == later or at_s == course.times_s[behind - 1]:
        return earlier
    return f"{earlier} to {later}"


def shown_time(seconds: Fraction) -> str:
    """`0:01:23.4`."""
    tenths = math.floor(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _small(pixels: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = min(_TALL / image.height, _WIDE / image.width)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
