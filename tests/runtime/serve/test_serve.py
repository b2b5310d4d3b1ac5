"""The whole server, as a process: its address answers, its port is its own, and Ctrl-C ends it in order."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from starcast.errors import OptionError
from starcast.runtime.serve.addresses import listen, names_of


@pytest.fixture(scope="module")
def served(tiny_bundle: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of the tiny bundle, and the address that it printed."""
    command = ["-m", "starcast", "serve", str(tiny_bundle), "--port", "0", "--no-browser", "--backend", "onnxruntime"]
    with subprocess.Popen(
        [sys.executable, *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"Open (http://\S+)", line):
                yield process, found[1]
                break
        process.kill()


def test_the_printed_address_opens_the_page_and_the_api(served):
    _, address = served
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(address).status_code == 200
        facts = browser.get(address.partition("?")[0] + "api/domains").json()
    assert (facts["domains"], facts["takes"], facts["height"]) == (["cat", "dog", "wild"], ["seed", "reference"], 32)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_the_server_in_order(served):
    process, _ = served
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "Stopped.\n")


def test_a_port_that_is_taken_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"127.0.0.1:{port} cannot be listened on .*: give another"):
            listen("127.0.0.1", port)


def test_without_a_port_the_next_free_one_is_taken(monkeypatch):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("starcast.runtime.serve.addresses.PORT", port)
        with listen("127.0.0.1", None) as other:
            assert other.getsockname()[1] > port


def test_a_server_on_loopback_is_known_by_its_usual_names():
    assert set(names_of("127.0.0.1")) == {"127.0.0.1", "localhost", "[::1]"}
    assert names_of("192.168.1.5") == ("192.168.1.5",)
    assert names_of("fe80::1") == ("[fe80::1]",)


def test_a_server_closes_its_port(tiny_bundle):
    with listen("127.0.0.1", 0) as first:
        assert isinstance(first, socket.socket)
    assert first.fileno() == -1
