"""The JSON record beside translations that says how they were made: bundle, styles, options, versions, counts.

A folder's record is `starcast.json`; a single file's is the file's name with `.json` after it. A run that
repeats an earlier one (same bundle, styles, options, sources, engine and version) replaces it, so a folder that took
five attempts has one run in its record. Other runs stay.

Other programs write `starcast.json` and `film.mp4.json` too: photo services put a JSON file beside each film. A file
that is not a record of ours is never replaced, not even with --overwrite, which is for the output. Every command
that writes a record calls `refuse_foreign_record` before the work.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starcast import __version__
from starcast.atomic import write_text
from starcast.errors import OptionError, printable, reason_of
from starcast.occupied import ANOTHER, in_the_way
from starcast.options import CheckedOptions, as_json
from starcast.runtime.bundle import Bundle, sha256_of

if TYPE_CHECKING:
    from starcast.runtime.style_requests import StyleRequest

FORMAT = 1  # 1: the first
RECORD = "starcast.json"
KEPT_RUNS = 100  # the newest; fewer if they would make the record larger than RECORD_BYTES
KEPT_SOURCES = 1000  # sources whose labels a run's record lists, so that 100 runs stay far below RECORD_BYTES
RECORD_BYTES = 64 * 2**20  # a hundred runs with thousands of references each; a larger file is no record
_OF_ONE_RUN = ("remeasure", "statistics")  # options that say nothing of the output
_FINGERPRINT_DIGITS = 16
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def record_beside(target: Path) -> Path:
    """The path of the record of one file (a video, a single image): `out.mp4` -> `out.mp4.json`."""
    return target.with_name(target.name + ".json")


def write_record(
    path: Path,
    bundle: Bundle | None,
    options: CheckedOptions,
    styles: Sequence[Mapping[str, Any]],
    *,
    engine: Mapping[str, str],
    sources: Sequence[str],
    faces: Mapping[str, str] | None = None,
    counts: Mapping[str, int] | None = None,
    has: Mapping[str, Sequence[str]] | None = None,
    statistics: Mapping[str, Any] | None = None,
    began_ns: int | None = None,
    finished: bool = True,
) -> None:
    """Write or update the record at `path`, atomically.

    `styles` comes from `style_facts`, `engine` from `Translator.facts`, `faces` from what found them.
    `counts` says what was done, `statistics` where the time went. `has` holds the labels read from each source. They
    are added to those of an earlier, equal run; the record lists the newest KEPT_SOURCES sources and counts the others.
    `began_ns` is when the run began (ns since 1970). `finished` is false before the run, and if it was interrupted.
    Raises OptionError if something that is no record stands there by now, and the file system's OSError.
    """
    refuse_foreign_record(path)
    run = {**run_facts(bundle, options, styles, sources, faces), "engine": dict(engine)}
    course: dict[str, Any] = {"counts": dict(counts or {})}
    if statistics is not None:
        course["statistics"] = dict(statistics)
    if began_ns is not None:
        course["began"] = (_EPOCH + datetime.timedelta(microseconds=began_ns // 1000)).isoformat()
    if finished:
        course["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    earlier_has = [other.get("has") for other in read_runs(path) if _is_same_run(other, run)]
    course |= _merge_labels([*earlier_has, has])
    earlier = [other for other in read_runs(path) if not _is_same_run(other, run)]
    runs = [*earlier[-KEPT_RUNS + 1 :], {**run, **course}]
    while len(text := _as_text(runs)) > RECORD_BYTES and len(runs) > 1:
        runs = runs[1:]
    write_text(path, text.decode())


def _as_text(runs: Sequence[Mapping[str, Any]]) -> bytes:
    text = json.dumps({"format": FORMAT, "runs": runs}, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _is_same_run(other: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    return all(other.get(key) == value for key, value in run.items())


def _merge_labels(read: Sequence[Any]) -> dict[str, Any]:
    """The entries of a record for the labels read from sources. `read` has one mapping per run, the oldest first."""
    known: dict[str, list[str]] = {}
    for part in read:
        if isinstance(part, Mapping):
            known = {name: labels for name, labels in known.items() if name not in part}
            known |= {name: list(labels) for name, labels in part.items() if isinstance(labels, list | tuple)}
    kept = dict(list(known.items())[-KEPT_SOURCES:])
    return {
        **({"has": kept} if kept else {}), **({"has_of_more": len(known) - len(kept)} if len(known) > len(kept) else {})
    }  # fmt: skip


def begin_record(record: Path, save: Callable[..., None], since_ns: int | None) -> int:
    """Write a folder's record before the first image, so that a killed run leaves one too. Returns when the run began,
    by the clock that dates the files there: `since_ns`, if it goes on. `save` is `write_record` for the run."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        if since_ns is None:
            since_ns = now_in(record.parent)
        save(began_ns=since_ns, finished=False)
    except OSError as error:
        raise unwritable(record.parent, error) from error
    return since_ns


def now_in(folder: Path) -> int:
    """The time by the clock that dates the files in a folder, in ns since 1970. Raises OSError."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime_ns


def unwritable(folder: Path, error: OSError) -> OptionError:
    """The error for a folder into which nothing can be written."""
    return OptionError(f"{printable(folder)} cannot be written to ({reason_of(error)}): choose another -o")


def end_record(save: Callable[[], None], record: Path, fail: Callable[[str], None]) -> None:
    """Write the record after the last image. If it cannot be written, the images stay and `fail` gets a sentence."""
    try:
        save()
    except (OSError, OptionError) as error:
        fail(f"{printable(record)} could not be updated ({reason_of(error)})")


def run_facts(
    bundle: Bundle | None,
    options: CheckedOptions,
    styles: Sequence[Mapping[str, Any]],
    sources: Sequence[str],
    faces: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a record says of a run before it begins: two runs with equal facts are the same command. `bundle` is None
    for a command that needs none; `faces` (hashes of what finds faces), for one that finds none."""
    return {
        "bundle": {"name": bundle.path.resolve().name, "sha256": bundle.sha256} if bundle is not None else None,
        "styles": [dict(style) for style in styles],
        **({} if faces is None else {"faces": dict(faces)}),
        "options": {name: value for name, value in as_json(options).items() if name not in _OF_ONE_RUN},
        "sources": list(sources),
        "starcast": __version__,
    }


def interrupted_since(path: Path, facts: Mapping[str, Any]) -> int | None:
    """When the last run with these facts (`run_facts`) began, in ns since 1970, if it was interrupted; else None."""
    runs = [run for run in read_runs(path) if all(run.get(key) == value for key, value in facts.items())]
    if not runs or "finished" in runs[-1]:
        return None
    try:
        began = datetime.datetime.fromisoformat(runs[-1]["began"])
        return (began - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def read_runs(path: Path) -> list[dict[str, Any]]:
    """The runs in a record, oldest first; empty if there is no record, or it is not starcast's."""
    try:
        content = _load(path)
    except OSError:
        return []
    runs = content.get("runs") if isinstance(content, dict) and content.get("format") == FORMAT else None
    return [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []


def is_record(path: Path) -> bool:
    """Whether a file is a record of ours, of this version or another."""
    try:
        return _is_ours(_load(path))
    except OSError:
        return False


def refuse_foreign_record(path: Path) -> None:
    """Raise OptionError unless a record may be written to `path`: nothing is there, or a record of this version.

    Call it before the work, so that nothing is made that cannot be recorded.
    """
    reason = _obstacle(path)
    if reason is not None:
        raise OptionError(in_the_way(path, reason, of="this run's record"))


def _obstacle(path: Path) -> str | None:
    """What is at `path` that a record may not replace; None if one may be written. Raises OptionError where none can be
    written."""
    nearest = next((folder for folder in path.parents if folder.is_dir()), path.parent)
    try:
        if nearest != path.parent:
            (nearest / path.name).lstat()  # the folder is not there yet: only whether the name is too long
            return None
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return "a link"
        if stat.S_ISDIR(mode):
            return "a folder"
        if not stat.S_ISREG(mode):
            return "a pipe, a socket or a device"
        content = _load(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise OptionError(
            f"{printable(path)} cannot be used for this run's record ({reason_of(error)}): {ANOTHER}"
        ) from error
    if not _is_ours(content):
        return "not written by starcast"
    return None if content["format"] == FORMAT else "written by another version of starcast"


def _load(path: Path) -> Any:
    """The JSON in a regular file; None if it holds none. Raises OSError."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > RECORD_BYTES:
        return None
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def _is_ours(content: Any) -> bool:
    """Whether JSON is a record: a format, and runs that name a bundle and the version that made them."""
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        return False
    runs = content.get("runs")
    return isinstance(runs, list) and any(
        isinstance(run, dict) and {"starcast", "bundle"} <= run.keys() for run in runs
    )


def style_facts(requests: Sequence[StyleRequest]) -> list[dict[str, Any]]:
    """The record's entry for each style: enough to make it again. Each reference file is hashed once."""
    hashes = {path: _sha256(path) for path in {request.reference for request in requests} if path is not None}
    facts = []
    for request in requests:
        if request.change is not None or request.vector is not None:
            facts.append(_label_facts(request))
            continue
        style: dict[str, Any] = {"label": request.label, "domain": request.domain, "psi": request.psi}
        if request.reference is not None:
            style |= {"reference": str(request.reference), "sha256": hashes[request.reference]}
        elif request.seed is not None:
            style["seed"] = request.seed
        facts.append(style)
    return facts


def _label_facts(request: StyleRequest) -> dict[str, Any]:
    style: dict[str, Any] = {"label": request.label}
    if request.change is not None:
        style["change"] = {"set": request.change.on, "unset": request.change.off, "flip": request.change.flip}
        style["change"] = {name: list(labels) for name, labels in style["change"].items() if labels}
    if request.vector is not None:
        style["labels"] = list(request.vector)
    return style


def style_identity(style: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a style that decide how a translation looks: not names, paths or changes of labels."""
    left_out = {"label", "reference"} | ({"change"} if "labels" in style else set())
    return {name: value for name, value in style.items() if name not in left_out}


def fingerprint(facts: Mapping[str, Any]) -> str:
    """A hash of a mapping of JSON values, 16 hexadecimal digits, independent of the order of its keys."""
    content = json.dumps(facts, sort_keys=True, ensure_ascii=True).encode()
    return hashlib.sha256(content).hexdigest()[:_FINGERPRINT_DIGITS]


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path) if path.is_file() else None
    except OSError:  # the translator raises the reason
        return None
