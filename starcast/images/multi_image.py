"""Files that hold several images: animations, pages, bursts. Only the first is read, and a remark says so."""

from __future__ import annotations

from typing import Any, NamedTuple

from PIL.ImageFile import ImageFile

from starcast.images.pillow import DECODER_ERRORS

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")  # Pillow's names of formats whose images are frames
_SUBFILE_TYPE, _OLD_SUBFILE_TYPE = 254, 255  # TIFF tags
_REDUCED_OR_MASK, _OLD_REDUCED = 0b101, 2
_THUMBNAIL = "Large Thumbnail"
# an image that says how to brighten the first one on bright screens: by Adobe and Google, by Apple, by ISO 21496-1
_GAIN_MAPS = (b"hdr-gain-map", b"hdrgainmap", b"iso:ts:21496")


class Several(NamedTuple):
    """How many images a file holds, and what they are: frames, pages or images."""

    number: int
    what: str

    def remark(self) -> str:
        """That only one is used, as a clause that follows the file's name."""
        if self.what == "frames":
            return f"is animated, and only the first of its {self.number} frames is used (`starcast video` takes all)"
        if self.what == "pages":
            return f"has {self.number} pages, and only the first is used"
        return f"holds {self.number} images, and only the main one is used"


def several_in(image: ImageFile) -> Several | None:
    """What an open file holds, if that is more than one image. Afterwards `image` may be at any of them.

    Previews, masks and gain maps are no images of their own. Damage behind the first image counts as its end.
    """
    try:
        number, what = _count(image)
    except DECODER_ERRORS:
        return None
    return Several(number, what) if number > 1 else None


def _count(image: Any) -> tuple[int, str]:
    number = int(getattr(image, "n_frames", 1))
    if image.format in _ANIMATED:
        return number - bool(getattr(image, "default_image", False)), "frames"
    if image.format == "TIFF":
        return sum(_is_page(image, page) for page in range(number)), "pages"
    if image.format == "MPO":
        return 1 + sum(_is_another(image, other) for other in range(1, number)), "images"
    return number, "images"


def _is_page(image: Any, number: int) -> bool:
    image.seek(number)
    tags = image.tag_v2
    return not (tags.get(_SUBFILE_TYPE, 0) & _REDUCED_OR_MASK or tags.get(_OLD_SUBFILE_TYPE) == _OLD_REDUCED)


def _is_another(image: Any, number: int) -> bool:
    """Whether an image of an MPO file is there, and shows something else than the first."""
    if str(image.mpinfo[0xB002][number]["Attribute"]["MPType"]).startswith(_THUMBNAIL):
        return False
    try:
        image.seek(number)
    except DECODER_ERRORS:  # programs that drop the other images often leave the list of them
        return False
    segments = b"".join(content for _, content in image.applist).lower()
    return not any(mark in segments for mark in _GAIN_MAPS)
