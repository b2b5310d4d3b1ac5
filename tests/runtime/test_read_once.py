"""A command opens its bundle once, and no file of it is hashed twice in a process."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starcast.errors import BundleError
from starcast.runtime import bundle as bundle_module
from starcast.runtime.bundle import open_bundle
from starcast.runtime.folder.translate import translate_all
from starcast.runtime.options import TranslateOptions
from starcast.runtime.translator import Translator
from starcast.runtime.video.morph import morph
from starcast.runtime.video.options import MorphOptions, VideoOptions
from starcast.runtime.video.translate import translate_video

GENERATOR = "generator/plain-fp32.onnx"


@dataclass
class Reads:
    """How often manifests were decoded, and each file was hashed."""

    opened: int = 0
    hashed: Counter[str] = field(default_factory=Counter)


@pytest.fixture
def reads(monkeypatch) -> Reads:
    counted = Reads()
    real_decode, real_hash = bundle_module.decode, bundle_module.sha256_of

    def decode(content, path):
        counted.opened += 1
        return real_decode(content, path)

    def sha256_of(path):
        counted.hashed[path.name] += 1
        return real_hash(path)

    monkeypatch.setattr(bundle_module, "decode", decode)
    monkeypatch.setattr(bundle_module, "sha256_of", sha256_of)
    monkeypatch.setattr(bundle_module, "SETTLED_NS", -(10**18))  # as if the files had been there for long
    return counted


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def clip(tmp_path: Path, bundle: Path, image: Path) -> Path:
    options = MorphOptions(domain="cat", seeds=("1",), frames_per_step=4, backend="openvino")
    morph(bundle, image, tmp_path / "clip.mp4", options)
    return tmp_path / "clip.mp4"


def test_translate_opens_the_bundle_once(bundle, image, tmp_path, reads):
    options = TranslateOptions(output=tmp_path / "out", domain="all", psi=0.5)
    assert translate_all(bundle, [image], options).done == 3
    assert reads.opened == 1
    assert reads.hashed == {"plain-fp32.onnx": 1, "mapping.onnx": 1, "styles.npz": 1}


def test_video_opens_the_bundle_once(clip, bundle, tmp_path, reads):
    translate_video(bundle, clip, tmp_path / "out.mp4", VideoOptions(domain="dog"))
    assert reads.opened == 1
    assert set(reads.hashed.values()) <= {1}


def test_morph_opens_the_bundle_once(bundle, image, tmp_path, reads):
    options = MorphOptions(domain="dog", seeds=("1", "2"), frames_per_step=4)
    morph(bundle, image, tmp_path / "out.mp4", options)
    assert reads.opened == 1
    assert set(reads.hashed.values()) <= {1}


def test_a_bundle_that_is_open_is_taken_as_it_is(bundle, reads):
    opened = open_bundle(bundle)
    for _ in range(2):
        with Translator(opened, backend="onnxruntime") as translator:
            assert translator.bundle is opened
    assert reads.opened == 1
    assert reads.hashed == {"plain-fp32.onnx": 1}


@pytest.mark.parametrize("same_time", [
    pytest.param(False, id="written to"),
    pytest.param(True, id="times set back", marks=pytest.mark.skipif(sys.platform == "win32", reason="no such time")),
])  # fmt: skip
def test_a_file_that_has_changed_is_hashed_again_and_refused(bundle, reads, same_time):
    opened = open_bundle(bundle)
    opened.graph(GENERATOR)
    file = bundle / GENERATOR
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    times = (before.st_atime_ns, before.st_mtime_ns if same_time else before.st_mtime_ns + 1)
    os.utime(file, ns=times)
    with pytest.raises(BundleError, match=r"plain-fp32\.onnx has changed since it was exported"):
        opened.graph(GENERATOR)
    assert reads.hashed["plain-fp32.onnx"] == 2


def test_the_hash_of_a_file_that_was_just_written_is_not_remembered(bundle, reads, monkeypatch):
    monkeypatch.setattr(bundle_module, "SETTLED_NS", 10**18)
    opened = open_bundle(bundle)
    for _ in range(2):
        opened.file("mapping.onnx")
    assert reads.hashed == {"mapping.onnx": 2}
