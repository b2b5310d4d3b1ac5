"""Many viewers on one model: one that reads a frame per second costs the others nothing."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from server_in_thread import ServerInThread
from websockets.sync.client import connect

from starcast.runtime.bundle import open_bundle
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.run import open_service

VIEWERS, FRAMES = 7, 40
JPEG = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[ServerInThread]:
    """The tiny bundle, served."""
    with open_service(open_bundle(tiny_bundle), Limits(), print, backend="onnxruntime", threads=1) as service:
        server = ServerInThread(service)
        yield server
        server.stop()


def frame(number: int) -> bytes:
    return struct.pack("<I", number) + JPEG


def open_live(server: ServerInThread):
    headers = {"authorization": f"Bearer {server.access.token}"}
    return connect(f"ws://127.0.0.1:{server.port}/live", additional_headers=headers)


def watch(server: ServerInThread, answered: list[int]) -> None:
    """Send a frame, and the next as soon as it has come back."""
    with open_live(server) as live:
        for number in range(FRAMES):
            live.send(frame(number))
            answered.append(struct.unpack_from("<I", live.recv(timeout=20))[0])


def crawl(server: ServerInThread, ends: threading.Event, read: list[int]) -> None:
    """Send without a pause, and read a frame per second."""
    with open_live(server) as live:
        while not ends.is_set():
            start = time.monotonic()
            number = 0
            while time.monotonic() - start < 1 and not ends.is_set():
                live.send(frame(number))
                number += 1
                time.sleep(0.005)
            read.append(struct.unpack_from("<I", live.recv(timeout=20))[0])


def test_others_lose_nothing_beside_a_viewer_that_reads_a_frame_per_second(server):
    ends, read = threading.Event(), list[int]()
    slow = threading.Thread(target=crawl, args=(server, ends, read))
    answers = [list[int]() for _ in range(VIEWERS)]
    threads = [threading.Thread(target=watch, args=(server, answered)) for answered in answers]
    slow.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ends.set()
    slow.join()
    assert answers == [list(range(FRAMES))] * VIEWERS
    assert len(read) >= 1


def test_a_viewer_that_never_reads_fills_no_memory(server):
    with open_live(server) as live:
        for number in range(500):
            live.send(frame(number))
        time.sleep(0.3)
        newest = struct.unpack_from("<I", live.recv(timeout=20))[0]
        count = 1
        while newest < 499:
            newest = struct.unpack_from("<I", live.recv(timeout=20))[0]
            count += 1
    assert newest == 499  # the newest is translated, and those between are left out
    assert count <= 500
