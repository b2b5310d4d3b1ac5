"""What a film says about itself: titles, dates, places, makers, languages, chapters. Kept where the container can.

MP4 and MOV have two ways to store it. The usual one has a fixed list of entries, which every player reads, and drops
the others. Apple's way, which `use_metadata_tags` stands for, stores any entry. It is used only where the usual one
would drop something. A muxer is asked for what it keeps: it writes a film of one frame into memory.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer

from starcast.runtime.video.input.film import Film
from starcast.runtime.video.output.languages import codes_for

ANY_ENTRY = "use_metadata_tags"
# metadata about how the old file was written
_OF_THE_OLD_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "rotate")
_STATISTICS = ("_statistics", "bps", "number_of_")
_OF_THE_OLD_STREAM = ("handler_name", "vendor_id", "timecode", "filename", "mimetype")
_SAME_INSTANT = 19  # letters of a date up to its seconds; the fraction is written in several ways


Keep = Callable[[Mapping[str, str]], dict[str, str]]


def kept_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata without the entries that are true only of the old file."""
    return {
        key: text
        for key, text in metadata.items()
        if key.lower() not in _OF_THE_OLD_FILE and not key.lower().startswith(_STATISTICS)
    }


def only_language(metadata: Mapping[str, str]) -> dict[str, str]:
    """A stream's language alone: players choose sound and subtitles by it."""
    return {key: text for key, text in metadata.items() if key.lower() == "language"}


def stream_metadata(metadata: Mapping[str, str], container: str, keep: Keep = kept_metadata) -> dict[str, str]:
    """What `keep` leaves of a stream's metadata, with the container's own names for the keys and its own code for the
    language."""
    kept = keep(metadata)
    # FFmpeg reads a track's title as "name" from MP4, and writes what is called "title" there
    titles = [kept.pop(key) for key in list(kept) if key.lower() == "name"]
    if titles and not any(key.lower() == "title" for key in kept):
        kept["title"] = titles[0]
    for key in kept:
        if key.lower() == "language":
            codes = codes_for(kept[key])
            kept[key] = next((code for code in codes if _language_kept(container, code)), kept[key])
    return kept


def needs_any_entry(container: str, metadata: Mapping[str, str]) -> bool:
    """Whether the usual way of storing metadata would drop an entry."""
    return container in ("mp4", "mov") and bool(_missing(metadata, _trial(container, metadata)[0]))


def carry_over(source: Film, container: OutputContainer, stream: Any) -> None:
    """Copy metadata and chapters, but not the display matrix's rotation: the pixels are already upright."""
    container.metadata.update(kept_metadata(source.metadata))
    stream.metadata.update(stream_metadata(source.stream_metadata(source.index), container.format.name))
    chapters = source.chapters if hasattr(container, "set_chapters") else []
    if not chapters:
        return
    for chapter in chapters:
        moved = round(source.start_s / chapter["time_base"]) if chapter["time_base"] else 0
        chapter["start"], chapter["end"] = chapter["start"] - moved, chapter["end"] - moved
    container.set_chapters(chapters)


def lost_metadata(source: Film, written: Path, streams: Iterable[tuple[int, int]]) -> list[str]:
    """The names of entries that a finished film lacks. `streams`: indices of a stream in the source and in the film."""
    with av.open(str(written), container_options={"protocol_whitelist": "file"}) as film:
        whole = kept_metadata(source.metadata)
        lost = _missing(whole, film.metadata)
        ignored = {*_OF_THE_OLD_STREAM, *({"creation_time"} & whole.keys())}  # Matroska has one date for all streams
        for before, after in streams:
            old = kept_metadata(source.stream_metadata(before))
            wanted = {key: text for key, text in old.items() if key.lower() not in ignored}
            lost += [f"{key} of stream {before}" for key in _missing(wanted, film.streams[after].metadata)]
    return lost


def _missing(wanted: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """The keys of the entries that are not there. A title may have become a name, and a language another code."""
    seen = {key.lower(): text for key, text in there.items()}
    missing = []
    for key, text in wanted.items():
        name = key.lower()
        plain = re.sub(r"-[a-z]{3}$", "", name)  # location-eng: the same in a language
        alias = {"title": "name", "name": "title"}.get(name, name)
        values = [seen.get(one) for one in (name, plain, alias)]
        if name == "language":
            same = text == "und" or seen.get(name) in codes_for(text)
        elif name == "creation_time":
            same = (seen.get(name) or "")[:_SAME_INSTANT] == text[:_SAME_INSTANT]
        else:
            same = text in values or not text
        if not same:
            missing.append(key)
    return missing


def _language_kept(container: str, code: str) -> bool:
    return container not in ("mp4", "mov") or _trial(container, {}, code)[1].get("language") == code


def _trial(container: str, metadata: Mapping[str, str], language: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """What is read back of a film's metadata, and of its stream's, from a film of one frame in memory."""
    memory = io.BytesIO()
    with contextlib.suppress(av.FFmpegError, ValueError):
        with av.open(memory, "w", format=container) as film:
            film.metadata.update(metadata)
            stream: Any = film.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 16
            stream.pix_fmt = "yuv420p"
            if language:
                stream.metadata["language"] = language
            for frame in (av.VideoFrame(16, 16, "yuv420p"), None):
                film.mux(stream.encode(frame))
        with av.open(io.BytesIO(memory.getvalue())) as film:
            return dict(film.metadata), dict(film.streams.video[0].metadata)
    return {}, {}
