"""A file from a server that cuts, stalls, redirects and answers with pages."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from faulty_server import Server, serve

from starcast.errors import DownloadError
from starcast.train.downloads import fetch as module
from starcast.train.downloads.fetch import fetch

CONTENT = np.random.default_rng(0).bytes(300_000)


def quiet(_line):
    """A progress function that discards its lines."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(module, "CHUNK", 4096)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with serve(Server(CONTENT)) as running:
        yield running


def test_a_file_arrives_with_its_hash(server, tmp_path):
    agreed = []
    fetched = fetch(server.url, tmp_path / "work", "file.zip", quiet, agreed.append)
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert agreed == [len(CONTENT)]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["file.zip"]


@pytest.mark.parametrize("validator", [True, False], ids=["with an ETag", "without"])
def test_a_connection_that_is_cut_continues_where_it_broke(server, tmp_path, validator):
    server.validator = validator
    server.cuts = [100_000, 50_000]
    lines = []
    assert fetch(server.url, tmp_path / "work", "file.zip", lines.append).path.read_bytes() == CONTENT
    first, *later = server.asked
    assert first is None
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in later]
    assert 0 < starts[0] <= 100_000
    assert starts[0] < starts[1] <= 150_000
    assert any("cut" in line for line in lines)


def test_a_server_that_cannot_continue_is_asked_for_all(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    assert fetch(server.url, tmp_path / "work", "file.zip", quiet).path.read_bytes() == CONTENT


def test_a_file_that_changes_meanwhile_is_never_a_mix_of_two(server, tmp_path):
    server.cuts = [100_000, 0, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match="broke off 5 times"):
        fetch(server.url, tmp_path / "work", "file.zip", quiet)
    server.content, server.cuts = CONTENT[::-1], []
    assert fetch(server.url, tmp_path / "work", "file.zip", quiet).path.read_bytes() == CONTENT[::-1]


def test_a_server_that_continues_with_another_file_is_noticed(server, tmp_path):
    server.cuts = [100_000, 0, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match="broke off 5 times"):
        fetch(server.url, tmp_path / "work", "file.zip", quiet)
    server.content, server.cuts, server.conditions = CONTENT[::-1], [], False
    assert fetch(server.url, tmp_path / "work", "file.zip", quiet).path.read_bytes() == CONTENT[::-1]


def test_a_file_that_changes_without_an_etag_is_fetched_again(server, tmp_path):
    server.validator, server.cuts = False, [100_000, 0, 0, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch(server.url, tmp_path / "work", "file.zip", quiet)
    server.content, server.cuts = CONTENT[:200_000][::-1], []
    assert fetch(server.url, tmp_path / "work", "file.zip", quiet).path.read_bytes() == CONTENT[:200_000][::-1]


def test_a_stalled_server_is_asked_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    server.stall_s = 2.0
    with pytest.raises(DownloadError, match=r"sends nothing \(no answer for 0\.1 s\)"):
        fetch(server.url, tmp_path / "work", "file.zip", quiet)


def test_a_slow_server_is_waited_for(server, tmp_path):
    server.content, server.slow_s = CONTENT[:40_000], 0.05
    assert fetch(server.url, tmp_path / "work", "file.zip", quiet).path.read_bytes() == CONTENT[:40_000]


def test_redirects_are_followed_and_circles_are_not(server, tmp_path):
    fetched = fetch(server.redirected, tmp_path / "work", "file.zip", quiet)
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.url == server.url
    with pytest.raises(DownloadError, match="circle"):
        fetch(server.circle, tmp_path / "other", "file.zip", quiet)


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server, tmp_path):
    server.statuses = [503, 429]
    assert fetch(server.url, tmp_path / "work", "file.zip", quiet).path.read_bytes() == CONTENT
    server.statuses, server.asked = [404] * 9, []
    with pytest.raises(DownloadError, match="404.*--url"):
        fetch(server.url, tmp_path / "other", "file.zip", quiet)
    assert len(server.asked) == 1


@pytest.mark.parametrize("as_html", [True, False], ids=["as HTML", "as a file"])
def test_a_web_page_is_called_that(server, tmp_path, as_html):
    from faulty_server import PAGE

    server.page, server.content = as_html, PAGE
    with pytest.raises(DownloadError, match="is a web page .*Dropbox & Co: this link is gone.* --url"):
        fetch(server.url, tmp_path / "work", "file.zip", quiet)
    assert not list((tmp_path / "work").iterdir())


def test_nobody_at_the_address_is_one_sentence(tmp_path):
    with pytest.raises(DownloadError, match="there is no connection"):
        fetch("http://127.0.0.1:9/file", tmp_path / "work", "file.zip", quiet)


@pytest.mark.parametrize(
    "url",
    [
        "file.zip",
        "ftp://host/file",
        "https://",
        "http://[foo/x",
        "http://host:999999/x",
        "/etc/passwd",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_address_is_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="not the address"):
        fetch(url, tmp_path / "work", "file.zip", quiet)
    assert not (tmp_path / "work").exists()


def test_after_kill_9_the_same_call_continues(server, tmp_path):
    server.slow_s = 0.02
    work = tmp_path / "work"
    script = (
        "import sys; from pathlib import Path; from starcast.train.downloads import fetch as m; m.CHUNK = 4096; "
        "m.fetch(sys.argv[1], Path(sys.argv[2]), 'file.zip', print)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, server.url, str(work)], stderr=subprocess.DEVNULL)
    part = work / "file.zip.part"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (part.exists() and part.stat().st_size > 20_000):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    have = part.stat().st_size
    assert 20_000 < have < len(CONTENT)
    server.slow_s, server.asked = 0.0, []
    assert fetch(server.url, work, "file.zip", quiet).path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={have}-"]
    assert [path.name for path in Path(work).iterdir()] == ["file.zip"]


def test_a_full_disk_is_refused_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match="free some disk space"):
        fetch(server.url, tmp_path / "work", "file.zip", quiet)
    assert not list((tmp_path / "work").iterdir())
