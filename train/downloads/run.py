"""`starcast download` from its question to its record: fetch, prove, put in place.

DIR/afhq/{train,val}/cat/…      a data set, unpacked          DIR/afhq_100000_nets_ema.ckpt     networks
DIR/afhq.download.json          where it came from, when, its licence and its SHA-256
DIR/.starcast-download-afhq-…   what has arrived of it so far; the same command continues there

What arrived is kept until it is recorded. So after a kill between placing and recording, the next call compares what
lies in place with what arrived, and records it.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starcast.atomic import atomic_folder, atomic_path, write_text
from starcast.errors import DownloadError, OptionError, printable, reason_of
from starcast.hold import hold
from starcast.train.downloads.archive import check_archive, is_unpacked, unpack
from starcast.train.downloads.catalogue import ITEMS, Item, Remote
from starcast.train.downloads.fetch import Fetched, check_url, fetch
from starcast.train.downloads.proof import prove

Progress = Callable[[str], None]
Ask = Callable[[str], bool]

_WORK, _FACTS = ".starcast-download", "facts.json"


def download(
    name: str, folder: Path, *, urls: Sequence[str] = (), overwrite: bool = False, ask: Ask, progress: Progress
) -> list[Path]:
    """Fetch what a name of the catalogue stands for into `folder`; returns what is there then.

    `ask` gets the question before a byte of the content is read, and says whether to go on. Raises OptionError and
    DownloadError; what has arrived by then stays for the next call, unless it is proven to be something else.
    """
    item = ITEMS[name]
    remotes = _with_urls(name, item, urls)
    progress(f"{name}: {item.what}")
    progress(f"Licence: {item.licence}")
    if not remotes:
        return [_download_celeba(item, folder, overwrite=overwrite, ask=ask, progress=progress)]
    for remote in remotes:
        progress(f"From: {printable(remote.url)}")
    with hold(folder / name):
        wanted = [(remote, folder / (item.folder or remote.name)) for remote in remotes]
        missing = [(remote, target) for remote, target in wanted if not _is_here(name, item, remote, target, overwrite)]
        for remote, target in wanted:
            if (remote, target) not in missing:
                record = printable(_record(folder, name))
                compared = "" if remote.kind == "zip" else ", and its SHA-256 is unchanged"
                progress(f"{printable(target)} is already here, from an earlier download{compared}: see {record}")
        for remote, target in missing:
            _bring(name, item, remote, target, overwrite, ask, progress)
    return [target for _, target in wanted]


def _bring(name: str, item: Item, remote: Remote, target: Path, overwrite: bool, ask: Ask, progress: Progress) -> None:
    digest = hashlib.sha256(remote.url.encode()).hexdigest()[:12]
    work = target.parent / f"{_WORK}-{remote.name}-{digest}"

    def agree(size: int | None) -> None:
        amount = "size unknown" if size is None else f"{size / 1e6:,.1f} MB"
        if not ask(f"Download {remote.name} ({amount}) under the licence above?"):
            raise DownloadError(f"{remote.name} was not downloaded: agree to the licence, or give --yes")

    new = not work.exists()
    try:
        fetched = fetch(remote.url, work, remote.name, progress, agree)
    except DownloadError:
        if new and not any(work.glob("*.part")):
            shutil.rmtree(work, ignore_errors=True)
        raise
    facts = _facts_of(remote, fetched, target)
    write_text(work / _FACTS, json.dumps(facts))
    try:
        what = _put_in_place(item, remote, fetched, target)
    except DownloadError:
        shutil.rmtree(work, ignore_errors=True)  # it is something else, or damaged: the next call starts afresh
        raise
    _write_record(_record(target.parent, name), item, remote, facts)
    for done in _works(target.parent, remote):
        shutil.rmtree(done, ignore_errors=True)
    progress(f"{printable(target)}: {what}")
    progress(f"SHA-256 of {remote.name}: {fetched.sha256}")


def _put_in_place(item: Item, remote: Remote, fetched: Fetched, target: Path) -> str:
    """Prove what came, and move or unpack it to `target`; returns what it is."""
    if remote.kind != "zip":
        what = prove(fetched.path, remote.kind)
        with atomic_path(target) as partial:
            shutil.copyfile(fetched.path, partial)
        return what
    contents = check_archive(fetched.path, item.domains)
    free = shutil.disk_usage(target.parent).free
    if contents.bytes > free:
        raise OptionError(
            f"{printable(target.parent)} has {free / 1e9:.1f} GB of free space, and the archive unpacks to "
            f"{contents.bytes / 1e9:.1f} GB: free some disk space, and give the same command again"
        )
    _refuse_to_lose(target, {place.as_posix() for _, place in contents.entries})
    with atomic_folder(target) as partial:
        unpack(fetched.path, contents, partial)
    return f"{len(contents.entries):,} files, {contents.bytes / 1e6:,.1f} MB"


def _refuse_to_lose(target: Path, new: Set[str]) -> None:
    """Raise OptionError if a folder that is to be replaced holds a file which the new one lacks."""
    if target.is_symlink() or not target.is_dir():
        return
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        if not path.is_dir() and name not in new:
            raise OptionError(
                f"{printable(target)} holds {printable(name)}, which the archive lacks: move it away, or choose "
                "another DIR"
            )


def _with_urls(name: str, item: Item, urls: Sequence[str]) -> list[Remote]:
    """The files to fetch, from the addresses given instead of the catalogue's. Raises OptionError."""
    if not urls:
        return list(item.files)
    if len(urls) != len(item.files):
        named = ", ".join(remote.name for remote in item.files) or "none: torchvision knows where it is"
        raise OptionError(
            f"{name} has {len(item.files)} addresses to replace ({named}), and --url gives {len(urls)}: give as many"
        )
    for url in urls:
        check_url(url)
    return [Remote(remote.name, url, remote.kind) for remote, url in zip(item.files, urls, strict=True)]


def _is_here(name: str, item: Item, remote: Remote, target: Path, overwrite: bool) -> bool:
    """Whether an earlier download has put it here. Raises OptionError if something else is in its place."""
    if overwrite or not (target.exists() or target.is_symlink()):
        return False
    record = _record(target.parent, name)
    for work in _works(target.parent, remote):
        facts = _read_json(work / _FACTS)
        if facts and _holds(target, work / remote.name, item, remote):
            _write_record(record, item, remote, facts)
            shutil.rmtree(work, ignore_errors=True)
    files = _read_record(record)
    if remote.name in files:
        _refuse_changed(target, remote, files[remote.name])
        return True
    raise OptionError(
        f"{printable(target)} already exists, and no record says that a download put it there: give --overwrite, or "
        "another DIR"
    )


def _refuse_changed(target: Path, remote: Remote, facts: Any) -> None:
    """Raise OptionError if a file is no longer the recorded one. A record of a set knows only the archive's hash."""
    known = facts.get("sha256") if isinstance(facts, dict) else None
    if remote.kind == "zip" or known is None:
        return
    try:
        with target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OptionError(f"{printable(target)} cannot be read ({reason_of(error)}): check its permissions") from error
    if found != known:
        raise OptionError(
            f"{printable(target)} has changed since it was downloaded (its SHA-256 differs): give --overwrite to fetch "
            "it again, or another DIR"
        )


def _holds(target: Path, fetched: Path, item: Item, remote: Remote) -> bool:
    """Whether exactly what was fetched lies in place."""
    try:
        if remote.kind == "zip":
            return is_unpacked(check_archive(fetched, item.domains), target)
        return filecmp.cmp(fetched, target, shallow=False)
    except (OSError, DownloadError):
        return False


def _works(folder: Path, remote: Remote) -> list[Path]:
    """The folders with what has arrived of a file, one for each address."""
    return sorted(folder.glob(f"{_WORK}-{remote.name}-*"))


def _record(folder: Path, name: str) -> Path:
    return folder / f"{name}.download.json"


def _read_record(path: Path) -> dict[str, Any]:
    """The files of a record by name; none if there is no record."""
    files = _read_json(path).get("files")
    return files if isinstance(files, dict) else {}


def _read_json(path: Path) -> dict[str, Any]:
    """An object in a file; an empty one if there is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _facts_of(remote: Remote, fetched: Fetched, target: Path) -> dict[str, Any]:
    return {
        "place": target.name,
        "url": remote.url,
        "came_from": fetched.url,
        "bytes": fetched.bytes,
        "sha256": fetched.sha256,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write_record(path: Path, item: Item, remote: Remote, facts: dict[str, Any]) -> None:
    files = _read_record(path) | {remote.name: facts}
    write_text(path, json.dumps({"what": item.what, "licence": item.licence, "files": files}, indent=2) + "\n")


def _download_celeba(item: Item, folder: Path, *, overwrite: bool, ask: Ask, progress: Progress) -> Path:
    """CelebA through torchvision's class, which knows where each file is and its hash."""
    from torchvision.datasets import CelebA

    if overwrite:
        raise OptionError("celeba is checked by its hashes, and only what is missing is fetched: leave --overwrite out")
    if not ask("Download CelebA from its Google Drive under the licence above?"):
        raise DownloadError("celeba was not downloaded: agree to the licence, or give --yes")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / item.folder
    try:
        with hold(target):
            CelebA(str(folder.resolve()), split="all", download=True)
    except (RuntimeError, OSError, ValueError) as error:
        if "gdown" in str(error) and "pip install" in str(error):
            raise OptionError("celeba needs gdown, which is not installed: pip install 'starcast[download]'") from error
        raise DownloadError(
            f"CelebA cannot be fetched ({printable(' '.join(str(error).split()))[:200]}): try again later, because "
            f"Google Drive limits downloads, or put its files into {printable(target)} by hand"
        ) from error
    progress(f"{printable(target)}: complete, every file has the hash that torchvision knows")
    return target
