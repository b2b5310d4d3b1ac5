"""Download a file: written aside, continued where it broke off, retried, and refused if a web page comes instead.

pooch places the file and computes its hash. It cannot continue a download, because it deletes what it has after each
failure; so the downloader that it calls keeps the bytes in a file of its own, and asks for the rest (HTTP Range).
"""

from __future__ import annotations

import html
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from starcast.atomic import write_text
from starcast.errors import DownloadError, printable
from starcast.train.terminal import standard_error

TRIES = 5  # in a row that bring nothing
PAUSE_S = 2.0  # before the second try; doubles with each
TIMEOUT_S = 30.0  # without a byte
CHUNK = 2**16  # what is lost at most when the connection is cut
LOOK_BYTES = 2**16  # of a page's start, where its title is

_PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|script|\?xml|!--)", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_HOPELESS = (requests.TooManyRedirects, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}

Progress = Callable[[str], None]
Agree = Callable[[int | None], None]  # gets the size in bytes, if the server tells it; raises if the user declines


@dataclass(frozen=True)
class Fetched:
    """A file that has arrived, with its SHA-256 and the address that it came from in the end."""

    path: Path
    sha256: str
    url: str
    bytes: int


class _TryAgainError(Exception):
    """A failure that another try may mend."""


def fetch(url: str, folder: Path, name: str, progress: Progress, agree: Agree | None = None) -> Fetched:
    """Fetch a file into `folder`, which belongs to this address alone, continuing what an earlier call left there.

    `agree` is called once, before anything is read. Raises DownloadError, and what `agree` raises.
    """
    check_url(url)
    folder.mkdir(parents=True, exist_ok=True)
    download = _Download(url, folder / f"{name}.part", progress, agree)
    target = folder / name
    if target.exists():
        progress(f"{name} is already downloaded")  # and was not put in place
    for stray in folder.glob("tmp*"):  # pooch's, of a process that was killed
        stray.unlink()
    pooch.get_logger().setLevel("WARNING")
    place = pooch.create(path=folder, base_url="", registry={name: None}, urls={name: url})
    place.fetch(name, downloader=download)
    return Fetched(target, pooch.file_hash(str(target), alg="sha256"), download.final_url, target.stat().st_size)


def check_url(url: str) -> None:
    """Raise DownloadError unless this is an address that can be fetched."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that none can have
        valid = False
    if not valid:
        raise DownloadError(f"{printable(url)} is not the address of a file: give one that begins with https://")


class _Download:
    """pooch's downloader: brings the whole file into `part`, then moves it to where pooch wants it."""

    def __init__(self, url: str, part: Path, progress: Progress, agree: Agree | None) -> None:
        self._url, self._part, self._progress, self._agree = url, part, progress, agree
        self._facts = part.with_name(f"{part.name}.json")  # which file it is a part of
        self.final_url = url

    def __call__(self, url: str, output_file: Any, _pooch: Any) -> None:
        failures = 0
        while True:
            before = self._size()
            try:
                self._bring()
                break
            except _HOPELESS as error:
                raise DownloadError(
                    f"{printable(self._url)} cannot be fetched ({_reason(error)}): give another address with --url"
                ) from error
            except (requests.RequestException, _TryAgainError) as error:
                failures = 1 if self._size() > before else failures + 1
                reason = _reason(error)
                if failures >= TRIES and self._size():
                    raise DownloadError(
                        f"{printable(self._host())} broke off {TRIES} times in a row ({reason}): give the same command "
                        "again to continue, or another address with --url"
                    ) from error
                if failures >= TRIES:
                    raise DownloadError(
                        f"{printable(self._host())} sends nothing ({reason}): check the network and give the same "
                        "command again, or another address with --url"
                    ) from error
                self._progress(f"{reason}: trying again after {self._size() / 1e6:,.1f} MB")
                time.sleep(PAUSE_S * 2 ** (failures - 1))
        self._facts.unlink(missing_ok=True)
        self._part.replace(output_file)

    def _bring(self) -> None:
        """Ask for what is missing, and append it."""
        have, facts = self._size(), self._read_facts()
        headers = {"Accept-Encoding": "identity", "User-Agent": "starcast"}  # compressed bytes could not be continued
        validator, known_total = facts.get("validator"), facts.get("total")
        if have and (validator or known_total):
            headers["Range"] = f"bytes={have}-"
        else:
            have = 0  # nobody could tell whether the rest belongs to it
        if have and validator:
            headers["If-Range"] = validator
        with requests.get(self._url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            self.final_url = response.url
            if response.status_code == 416 and have:  # it has changed, or is whole already
                total = _total_of(response.headers.get("Content-Range", ""))
                if total != have:
                    self._part.unlink()
                    raise _TryAgainError("the file on the server has changed")
                return
            self._refuse_status(response)
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdecimal() else None
            if response.status_code == 206:
                total = None if total is None else have + total
                # a server that ignores If-Range would otherwise splice the ends of two files
                same = _validator_of(response) in (None, validator) if validator else known_total is not None
                if _start_of(response) != have or not same or known_total not in (None, total):
                    self._part.unlink()
                    raise _TryAgainError("the file on the server has changed")
            else:
                have = 0  # the server cannot continue, or the file has changed
            if self._agree is not None:
                self._agree(total)
                self._agree = None
            self._refuse_full_disk(None if total is None else total - have)
            self._receive(response, have, total)

    def _receive(self, response: requests.Response, have: int, total: int | None) -> None:
        chunks = response.iter_content(CHUNK)
        first = next(chunks, b"")
        if not have:
            self._refuse_page(response, first)
            write_text(self._facts, json.dumps({"validator": _validator_of(response), "total": total}))
        elif first:
            self._progress(f"Continuing after {have / 1e6:,.1f} MB")
        with (
            self._part.open("ab" if have else "wb") as file,
            tqdm(
                total=total, initial=have, unit="B", unit_scale=True, leave=False, desc=self._part.stem,
                file=standard_error(),
            ) as bar,
        ):  # fmt: skip
            while first:
                file.write(first)
                file.flush()
                bar.update(len(first))
                first = next(chunks, b"")
        if total is not None and self._size() != total:
            raise _TryAgainError("the connection was cut")

    def _refuse_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in _TRANSIENT:
            raise _TryAgainError(f"the server answers {status} {response.reason}")
        if status >= 400:
            raise DownloadError(
                f"{printable(self._url)} cannot be downloaded: the server answers {status} {response.reason}: "
                "give another address with --url"
            )

    def _refuse_page(self, response: requests.Response, first: bytes) -> None:
        kind = response.headers.get("Content-Type", "").lower()
        if not kind.startswith("text/html") and not _PAGE.match(first[:LOOK_BYTES]):
            return
        title = _TITLE.search(first[:LOOK_BYTES])
        words = " ".join(html.unescape(title[1].decode(errors="replace")).split())[:80] if title else ""
        named = f" ({printable(words)!r})" if words else ""
        raise DownloadError(
            f"{printable(response.url)} is a web page{named} instead of the file: open it in a browser, and give the "
            "address of the file itself with --url"
        )

    def _refuse_full_disk(self, missing: int | None) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if missing is not None and missing > free:
            raise DownloadError(
                f"{printable(self._part.parent)} has {free / 1e9:.1f} GB of free space, and {missing / 1e9:.1f} GB are "
                "missing: free some disk space, or give another DIR"
            )

    def _read_facts(self) -> dict[str, Any]:
        """What is known of the file that the part belongs to."""
        try:
            facts = json.loads(self._facts.read_bytes())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _host(self) -> str:
        return urlsplit(self.final_url).netloc


def _validator_of(response: requests.Response) -> str | None:
    """What tells whether the file is still the same: its ETag, unless that is a weak one, or when it was changed."""
    tag: str | None = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    changed: str | None = response.headers.get("Last-Modified")
    return changed


def _start_of(response: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total_of(content_range: str) -> int | None:
    match = re.match(r"bytes \*/(\d+)", content_range)
    return int(match[1]) if match else None


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer for {TIMEOUT_S:g} s"
    if isinstance(error, requests.TooManyRedirects):
        return "it redirects in a circle"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not valid"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection"
    return str(error)
