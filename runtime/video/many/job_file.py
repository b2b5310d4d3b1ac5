"""A YAML file of jobs for `starcast video --jobs`: which videos, in which style, to which place.

    bundle: my-model
    defaults: {crf: 20}
    jobs:
      - source: clips/a.mp4                    # or a list; videos, folders, patterns, lists
        style: {domain: dog, seed: 7}          # or keys over time, as for --style-keys
        range: {start: 1.5, end: 10}
        output: dogs/a.mp4                     # or a folder
      - {source: b.mp4, domain: cat, fit: pad} # any option of `video` by its long name

Paths are relative to the file. All mistakes are found before any work, and listed at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import shlex
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starcast.comma_lists import join_commas, split_commas
from starcast.errors import OptionError, printable
from starcast.options import flag_of, flat_fields, inner_type
from starcast.runtime.folder.lists import home_path
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.strict_yaml import Text, read_strictly
from starcast.runtime.video.timeline.keyframes import is_key_file, parse_keys

MOST_JOBS = 10_000
_MOST_NAMED = 50  # mistakes that are listed
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_WHOLE = ("bundle", "defaults", "jobs")
_OF_A_JOB = ("source", "bundle", "output", "style", "range")
_FOR_ALL = frozenset({"restart", "preview", "statistics"})  # of the command, not of a job
_WAYS = ("seed", "ref", "seeds", "refs", "style-keys")  # to say what the style is: one takes the place of another
_LISTS_OF_PATHS = frozenset({"refs"})
_LISTS_OF_KEYS = ("set", "unset", "flip", "has", "labels")


@dataclass(frozen=True)
class Job:
    """A job as the file has it. `options`: values of VideoOptions by field."""

    number: int
    line: int
    sources: tuple[Path, ...]
    bundle: Path | None
    output: str | None
    options: Mapping[str, Any]


@dataclass
class Mistakes:
    """What is wrong with a file of jobs."""

    path: Path
    sentences: dict[str, int] = field(default_factory=dict)  # with their lines; the same one counts once

    def add(self, where: str, line: int, what: str) -> None:
        """Note a mistake. `where`: "job 2"; `line` of the file, 0 for none."""
        self.sentences[f"{where}, line {line}: {what}" if line else f"{where}: {what}"] = line

    def raise_any(self) -> None:
        """Raise OptionError with all mistakes in the order of the file, if there are any."""
        sentences = sorted(self.sentences, key=self.sentences.__getitem__)
        if len(sentences) == 1:
            raise OptionError(f"{printable(self.path)}, {sentences[0]}")
        if sentences:
            more = [f"and {len(sentences) - _MOST_NAMED} more"] if len(sentences) > _MOST_NAMED else []
            begin = f"{printable(self.path)} has {len(sentences)} mistakes:"
            raise OptionError("\n  ".join([begin, *sentences[:_MOST_NAMED], *more]))


class _Entry(typing.NamedTuple):
    """A key and its value; `where` in the file it is."""

    where: str
    line: int
    spelling: str
    value: Any


def read_jobs(path: Path) -> tuple[list[Job], Mistakes]:
    """The jobs in a file that have no mistake, and the mistakes of the others, for the caller to add to and to raise.
    Raises OptionError for a file that holds no jobs at all."""
    document = read_strictly(path)
    entries = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST_JOBS:
        raise OptionError(
            f"{printable(path)} has no list of 1 to {MOST_JOBS} jobs: write `jobs:`, and below it `- source: clip.mp4` "
            "for each"
        )
    mistakes = Mistakes(path)
    for name in document:
        if name not in _WHOLE:
            mistakes.add("the file", name.line, _unknown(name, (*_WHOLE, *_OF_A_JOB)))
    shared = _entries({name: document[name] for name in document if name == "bundle"}, "the file", mistakes)
    defaults = document.get("defaults") or {}
    if isinstance(defaults, dict):
        shared |= _entries(defaults, "defaults", mistakes)
    else:
        mistakes.add("defaults", 0, "write `option: value` for each, indented")
    if "source" in shared:
        mistakes.add("defaults", shared["source"].line, "a source belongs to a job: move it there")
    jobs = []
    for number, entry in enumerate(entries, start=1):
        where = f"job {number}"
        if not isinstance(entry, dict):
            mistakes.add(where, getattr(entry, "line", 0), "write `source: clip.mp4`, and other keys below it")
            continue
        own = _entries(entry, where, mistakes)
        merged = {key: given for key, given in shared.items() if not _gives_way(key, own)} | own
        line = min((name.line for name in entry), default=0)
        job = _job(merged, number, line, path.parent, mistakes)
        if job is not None:
            jobs.append(job)
    return jobs, mistakes


def _entries(mapping: Mapping[Text, Any], where: str, mistakes: Mistakes) -> dict[str, _Entry]:
    """The keys of a job, with those in `style` and `range` beside the others."""
    entries: dict[str, _Entry] = {}
    for name, value in mapping.items():
        inner: Mapping[Any, Any] = {name: value}
        if name == "style":
            inner = value if isinstance(value, dict) else {Text("style-keys", name.line): value}
        elif name == "range":
            inner = value if isinstance(value, dict) else {}
            if not inner or not {*inner} <= {"start", "end"}:
                mistakes.add(where, name.line, "range has the keys start and end: write {start: 1.5, end: 10}")
                continue
        for spelling, part in inner.items():
            key = spelling.replace("_", "-").lower()
            if key in entries:
                mistakes.add(where, spelling.line, f"{key} is given twice: leave one out")
            entries[key] = _Entry(where, spelling.line, printable(spelling), part)
    return entries


def _gives_way(key: str, own: Mapping[str, Any]) -> bool:
    """Whether a job's own keys take the place of this default, because a style comes from one of them alone."""
    return (key in _WAYS and any(way in own for way in _WAYS)) or (key == "domain" and "style-keys" in own)


def _job(entries: Mapping[str, _Entry], number: int, line: int, folder: Path, mistakes: Mistakes) -> Job | None:
    before = len(mistakes.sentences)
    fields = {flag_of(one)[2:]: (one, hint) for one, hint in flat_fields(VideoOptions) if "help" in one.metadata}
    options: dict[str, Any] = {}
    sources: tuple[Path, ...] = ()
    bundle = output = None
    for key, entry in entries.items():
        try:
            if key == "source":
                parts = entry.value if isinstance(entry.value, list) else [entry.value]
                sources = tuple(_path(_text(part), folder) for part in parts)
            elif key == "bundle":
                bundle = _path(_text(entry.value), folder)
            elif key == "output":
                output = _text(entry.value)
            elif key not in fields:
                mistakes.add(entry.where, entry.line, _unknown(entry.spelling, (*_OF_A_JOB, *fields)))
            elif fields[key][0].name in _FOR_ALL:
                mistakes.add(entry.where, entry.line, f"{key} is for all jobs: give --{key} beside --jobs")
            elif entry.value is not None:
                one, hint = fields[key]
                options[one.name] = _typed(entry.value, one, hint, folder)
        except OptionError as error:
            mistakes.add(entry.where, entry.line, str(error))
        except ValueError as error:
            mistakes.add(entry.where, entry.line, f"{entry.spelling} {error}")
    if not sources and "source" not in entries:
        mistakes.add(f"job {number}", line, "it has no source: write `source: clip.mp4`")
    return Job(number, line, sources, bundle, output, options) if len(mistakes.sentences) == before else None


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.replace("_", "-").lower(), known, n=1)
    return f"{printable(name)} is unknown: " + (
        f"did you mean {near[0]}?" if near else "`starcast video --help` lists the options"
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("needs a value, such as a name or a number")
    return str(value)


def _path(text: str, folder: Path) -> Path:
    return folder / home_path(Path(text))


def _typed(value: Any, one: dataclasses.Field[Any], hint: Any, folder: Path) -> Any:
    """A value as the field has it. Raises ValueError with a clause that follows the key, and OptionError."""
    inner = inner_type(hint)
    if one.name == "style_keys":
        return _style_keys(value, folder)
    if typing.get_origin(inner) is tuple:
        parts = [_text(part) for part in value] if isinstance(value, list) else list(split_commas(_text(value)))
        if one.name in _LISTS_OF_PATHS:
            return tuple(str(_path(part, folder)) for part in parts)
        return tuple(_scalar(part, typing.get_args(inner)[0]) for part in parts)
    return _path(_text(value), folder) if inner is Path else _scalar(_text(value), inner)


def _style_keys(value: Any, folder: Path) -> str:
    """Keys, given as text or as a list of mappings, as text for the command line: its paths begin at `folder`."""
    if isinstance(value, str) and is_key_file(value):
        return str(_path(value, folder))
    keys = []
    for key in parse_keys(str(value) if isinstance(value, str) else value, folder):
        words = {name: getattr(key, name) for name in ("domain", "seed", "ref", "psi", *_LISTS_OF_KEYS)}
        given = {
            name: join_commas(map(str, word)) if name in _LISTS_OF_KEYS else str(word)
            for name, word in words.items()
            if word is not None and word != ()
        }
        keys.append(
            " ".join(
                [key.time.text, *(shlex.quote(f"{name}={word}") for name, word in given.items()), f"ease={key.ease}"]
            )
        )
    return "; ".join(keys)


def _scalar(text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ValueError(f"is {printable(text)}: write true or false")
        return text.lower() in _TRUE
    try:
        typed = kind(text)
    except (ValueError, OverflowError):
        typed = math.nan
    if isinstance(typed, float) and not math.isfinite(typed):
        raise ValueError(f"is {printable(text)}: write a {'whole ' if kind is int else ''}number") from None
    return typed
