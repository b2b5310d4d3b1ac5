"""The work in which engines are measured, where the sources cannot be read twice, or at all."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from itertools import islice
from types import SimpleNamespace

import pytest

from starcast.runtime.bundle import open_bundle
from starcast.runtime.folder.first_images import work_of
from starcast.runtime.options import TranslateOptions
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.rehearsal import work_of as work_of_film


def _shapes(work) -> list[tuple[int, ...]]:
    """The shapes of the first batches of a rehearsal."""
    shapes: list[tuple[int, ...]] = []

    def run(images):
        shapes.append(images.shape)
        return images

    with closing(work.rehearse(run, 2)) as images:
        assert len(list(islice(images, 6))) == 6
    return shapes[:3]


@pytest.fixture
def pipe(tmp_path):
    if sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_film_from_a_pipe_is_rehearsed_with_drawn_frames(pipe, tiny_bundle):
    manifest = open_bundle(tiny_bundle).manifest
    assert _shapes(work_of_film(pipe, manifest, VideoOptions())) == [(2, *manifest.trained_size, 3)] * 3


def test_images_that_are_damaged_or_come_from_a_pipe_are_rehearsed_with_a_drawn_one(tmp_path, pipe):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    jobs = [
        SimpleNamespace(source=SimpleNamespace(path=path), targets=[SimpleNamespace(path=tmp_path / "out.png")])
        for path in (tmp_path / "damaged.png", pipe)
    ]
    assert _shapes(work_of(jobs, (32, 48), TranslateOptions())) == [(2, 32, 48, 3)] * 3
