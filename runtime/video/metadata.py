"""What a film says about itself: titles, dates, places, chapters. Kept, but for what is true of the old file only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from av.container import OutputContainer

from starcast.runtime.video.source import Source

# metadata about how the old file was written
_OF_THE_OLD_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "rotate")
_STATISTICS = ("_statistics", "bps", "number_of_")


def kept_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata without the entries that are true only of the old file."""
    return {
        key: text
        for key, text in metadata.items()
        if key.lower() not in _OF_THE_OLD_FILE and not key.lower().startswith(_STATISTICS)
    }


def carry_over(source: Source, container: OutputContainer, stream: Any) -> None:
    """Copy metadata and chapters, but not the display matrix's rotation: the pixels are already upright."""
    container.metadata.update(kept_metadata(source.container.metadata))
    stream.metadata.update(kept_metadata(source.metadata))
    chapters = source.container.chapters() if hasattr(container, "set_chapters") else []
    if not chapters:
        return
    for chapter in chapters:
        moved = round(source.start_s / chapter["time_base"]) if chapter["time_base"] else 0
        chapter["start"], chapter["end"] = chapter["start"] - moved, chapter["end"] - moved
    container.set_chapters(chapters)
