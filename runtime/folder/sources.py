"""Expand what a user names (files, folders, patterns and list files) into one ordered list of images, or of videos.

photo.jpg           that file, whatever its name
photos/             every image in it and its subfolders, by name; hidden ones (a leading dot) are skipped
'photos/**/*.jpg'   a pattern, for shells that do not expand it
list.txt            one source per line, relative to the list

Translations that starcast made are not sources, unless they are named one by one: a folder of photographs often holds
the folder of their translations too. They are known by their mark, and by the record in a folder below the one that is
searched. Images that starcast aligned are sources of every command but `align`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath

import msgspec

from starcast.absence import local_path
from starcast.errors import printable, reason_of
from starcast.images import formats
from starcast.images.mark import read_mark
from starcast.images.write import WRITTEN_SUFFIXES
from starcast.runtime.folder.lists import LIST_SUFFIX, exists, home_path, read_list
from starcast.runtime.folder.patterns import is_pattern, match_pattern
from starcast.runtime.marks import parse_mark
from starcast.runtime.record import RECORD, is_record, record_beside

NAMED_OTHERS = 10  # files that are not sources, each in a line


class Kind(msgspec.Struct, frozen=True):
    """What a command takes from folders, such as images. `word` is what one is called.

    `is_one`: whether a file is one, by its name or its first bytes. `has_suffix`: whether a suffix says so; `suffixes`
    are the usual ones. `is_ours`: whether one of them is a translation that starcast made; its second argument tells
    that the file is below a record, and its third that aligned ones count, too. `name_whole`: what a path is called,
    such as `shot.png`, if all that it names is one, as the folder of a film's frames is; else None.
    """

    word: str
    suffixes: frozenset[str]
    is_one: Callable[[Path], bool]
    has_suffix: Callable[[str], bool]
    is_ours: Callable[[Path, bool, bool], bool]
    name_whole: Callable[[Path], str | None] = lambda _: None

    @property
    def one(self) -> str:
        return f"{'an' if self.word[0] in 'aeiou' else 'a'} {self.word}"


class SourceFile(msgspec.Struct, frozen=True):
    """A file to read. `relative` is its path below the output folder, with the source's suffix."""

    path: Path
    relative: PurePath


class FoundSources(msgspec.Struct):
    """What `find_sources` found, in order: sources, problems (a sentence each), other files in the folders, text files
    that list nothing, and translations that starcast made."""

    kind: Kind
    sources: list[SourceFile] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)
    others: list[Path] = msgspec.field(default_factory=list)
    texts: list[Path] = msgspec.field(default_factory=list)
    translations: list[Path] = msgspec.field(default_factory=list)

    def left_out(self, made: str = "translation", verb: str = "translate") -> Iterator[str]:
        """A line for each kind of file that is not used. `made`: what the command calls an image that starcast made;
        `verb`: what it does."""
        for text in self.texts:
            yield f"{printable(text)} is neither {self.kind.one} nor a list of files: skipped"
        for other in self.others[:NAMED_OTHERS]:
            yield f"{printable(other)} is not {self.kind.one}: skipped"
        if len(self.others) > NAMED_OTHERS:
            yield f"{len(self.others) - NAMED_OTHERS} more files are not {self.kind.word}s: skipped"
        if self.translations:
            more = (
                f" and {len(self.translations) - 1} more are {made}s"
                if self.translations[1:]
                else f" is {'an' if made[0] in 'aeiou' else 'a'} {made}"
            )
            yield (
                f"{printable(self.translations[0])}{more} that starcast made: skipped (name a file to {verb} it again)"
            )

    def nothing_in(self, arguments: Iterable[Path], made: str = "translation", verb: str = "translate") -> str:
        """A sentence for `arguments` that name no source; `made` and `verb` as in `left_out`."""
        named = ", ".join(map(printable, arguments)) or "the sources"
        if self.translations:
            return f"{named} holds only {made}s that starcast made: name the files to {verb} them again"
        return f"no {self.kind.word}s in {named}: check the path"


class _Search(msgspec.Struct, frozen=True):
    """How folders are searched: `without` is a folder that is skipped; `take_translations` and `take_aligned`: they are
    sources too."""

    kind: Kind
    without: tuple[int, int] | None
    take_translations: bool
    take_aligned: bool

    def skips(self, path: Path, *, ours: bool) -> bool:
        """Whether a file is one that starcast made. `ours`: it is below a record."""
        return not self.take_translations and self.kind.is_ours(path, ours, not self.take_aligned)


def _is_our_image(path: Path, ours: bool, with_aligned: bool) -> bool:
    can_be_ours = path.suffix.lower() in WRITTEN_SUFFIXES
    mark = parse_mark(read_mark(path)) if can_be_ours else None
    if mark is not None and mark.is_aligned:
        return with_aligned
    return ours or mark is not None or (can_be_ours and is_record(record_beside(path)))


def find_sources(
    arguments: Iterable[Path], *, leave_out: Path | None = None, take_translations: bool = False,
    take_aligned: bool = True, kind: Kind | None = None,
) -> FoundSources:  # fmt: skip
    """The images, or what `kind` says, that `arguments` name, each once. Searching a folder skips the folder
    `leave_out` and, unless `take_translations`, the translations in it; without `take_aligned` aligned images, too.

    A file named by itself always counts as a source, so a file that cannot be read is reported rather than skipped.
    """
    found = FoundSources(kind or IMAGES)
    seen: set[str] = set()
    search = _Search(found.kind, None if leave_out is None else _identity(leave_out), take_translations, take_aligned)
    for argument in arguments:
        for source in _expand(_existing(Path(argument)), found, search, lists=True):
            absolute = os.path.normcase(os.path.abspath(source.path))  # noqa: PTH100  two links to one file are two sources
            if absolute not in seen:
                seen.add(absolute)
                found.sources.append(source)
    return found


def _existing(argument: Path) -> Path:
    """The argument, or the path that it means: a shell does not replace `~` in quotes, and no shell reads a URL."""
    if exists(argument):
        return argument
    return local_path(argument) or home_path(argument)


def _expand(
    argument: Path, found: FoundSources, search: _Search, *, lists: bool, base: Path | None = None
) -> Iterator[SourceFile]:
    """The sources that a path names. `base`: the folder that `relative` paths start from; None: `argument` itself."""
    whole = search.kind.name_whole(argument)
    if whole is not None:
        yield SourceFile(argument, _below(argument, base).with_name(whole))
    elif _is_folder(argument):
        root = argument if base is None else base
        yield from _in_folder(argument, root, found, search, set())
    elif lists and argument.suffix.lower() == LIST_SUFFIX and argument.is_file():
        yield from _in_list(argument, found, search)
    elif is_pattern(argument):
        yield from _in_pattern(argument, found, search)
    else:
        yield SourceFile(argument, _below(argument, base))


def _in_folder(
    folder: Path, root: Path, found: FoundSources, search: _Search, entered: set[tuple[int, int]], *, ours: bool = False
) -> Iterator[SourceFile]:
    """The images in a folder. `ours`: the folder is below one whose record says that starcast wrote it."""
    identity = _identity(folder)
    if identity is None or identity == search.without or identity in entered:  # entered: a link that leads back up
        return
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        found.problems.append(
            f"{printable(folder)} cannot be searched ({reason_of(error)}): change its permissions, or leave it out"
        )
        return
    inside = {*entered, identity}
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if _is_folder(path):
            below_record = ours or is_record(path / RECORD)
            yield from _in_folder(path, root, found, search, inside, ours=below_record)
        elif not search.kind.is_one(path):
            if not _is_record_of_ours(path):
                found.others.append(path)
        elif search.skips(path, ours=ours):
            found.translations.append(path)
        else:
            yield SourceFile(path, _below(path, root))


def _in_list(path: Path, found: FoundSources, search: _Search) -> Iterator[SourceFile]:
    try:
        entries = read_list(path)
    except OSError as error:
        found.problems.append(
            f"{printable(path)} cannot be read as a list ({reason_of(error)}): write one path per line"
        )
        return
    except ValueError:
        found.problems.append(f"{printable(path)} is not a list of paths: write one path per line, in UTF-8")
        return
    if not _is_meant_as_list(path, entries, search.kind):
        found.texts.append(path)
        return
    for entry in entries:
        yield from _expand(entry, found, search, lists=False, base=path.parent)


def _is_meant_as_list(path: Path, entries: list[Path], kind: Kind) -> bool:
    """Whether a text file lists sources. A shell's `*` also names the captions that stand beside images, and notes: in
    those no line is a path, or there is an image (or video) that differs only in its suffix."""
    paths = [exists(entry) or (is_pattern(entry) and bool(match_pattern(entry)[1])) for entry in entries]
    if any(_has_one_of_the_same_name(path, suffix) for suffix in kind.suffixes):
        return bool(paths) and all(paths)
    return any(paths) or any(kind.has_suffix(entry.suffix) for entry in entries)


def _has_one_of_the_same_name(path: Path, suffix: str) -> bool:
    return exists(path.with_suffix(suffix)) or exists(path.with_suffix(suffix.upper()))


def _in_pattern(pattern: Path, found: FoundSources, search: _Search) -> Iterator[SourceFile]:
    root, matches = match_pattern(pattern)
    if not matches:
        found.problems.append(f"{printable(pattern)} matches nothing: check the pattern")
    searches = "**" in pattern.parts  # any other pattern names its files one by one, as a shell would
    for match in matches:
        if _is_folder(match):
            if not searches:  # else the pattern also matches its files
                yield from _in_folder(match, root, found, search, set(), ours=_is_below_record(match, root))
        elif search.without is not None and search.without in map(_identity, match.parents):
            continue
        elif not search.kind.is_one(match):
            found.others.append(match)
        elif searches and search.skips(match, ours=_is_below_record(match, root)):
            found.translations.append(match)
        else:
            yield SourceFile(match, _below(match, root))


def _is_below_record(path: Path, root: Path) -> bool:
    """Whether a folder at `path`, or one between it and `root`, has a record."""
    between = [folder for folder in (path, *path.parents) if folder != root and folder.is_relative_to(root)]
    return any(is_record(folder / RECORD) for folder in between)


def _is_record_of_ours(path: Path) -> bool:
    return path.suffix == Path(RECORD).suffix and is_record(path)


def _below(path: Path, base: Path | None) -> PurePath:
    """The path relative to `base` if it lies below it, else its name."""
    if base is not None and path.is_relative_to(base):
        relative = path.relative_to(base)
        if ".." not in relative.parts:
            return relative
    return PurePath(path.name or "image")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # the name is too long, or has a null character: reported when read
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def _looks_like_image(path: Path) -> bool:
    """Whether a file is an image, by its name; only if the name does not say, by its first bytes."""
    return formats.has_image_suffix(path.suffix) or formats.looks_like_image(_head(path))


IMAGES = Kind("image", frozenset(formats.SUFFIXES), _looks_like_image, formats.has_image_suffix, _is_our_image)


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its first bytes."""
    foreign = formats.identify_foreign(_head(path), path.suffix)
    return foreign is not None and foreign.is_video


def _head(path: Path) -> bytes:
    """The first bytes of a regular file; b"" for anything else, which must not be opened."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(formats.HEAD_BYTES)
    except OSError:
        return b""
