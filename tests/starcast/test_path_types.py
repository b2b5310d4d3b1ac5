from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from starcast.cli import root
from starcast.errors import OptionError
from starcast.images.write import write_image
from starcast.path_types import name_in

URL = "https://example.org/a/b"


def _invoke(*words: object):
    return CliRunner().invoke(root, [str(word) for word in words], standalone_mode=False)


@pytest.mark.parametrize("words", [
    ("train", URL, "-o", "run"), ("train", "DATA", "-o", "run", "--from", URL), ("export", URL, "-o", "bundle"),
    ("inspect", URL), ("plot", URL), ("dataset", "check", URL), ("video", "BUNDLE", URL, "-o", "x.mp4"),
    ("morph", "BUNDLE", URL, "-o", "x.mp4", "--seeds", "1,2"), ("translate", URL, "x.png", "-o", "out"),
    ("translate", "BUNDLE", "x.png", "-o", "out", "--ref", URL), ("build", URL), ("bench", URL),
    ("video", "BUNDLE", "x.mp4", "-o", "out.mp4", "--ref", URL),
    ("morph", "BUNDLE", "x.png", "-o", "x.mp4", "--domain", "0", "--refs", f"{URL},{URL}"),
], ids=" ".join)  # fmt: skip
def test_a_url_is_called_one_by_every_command(tmp_path, tiny_bundle, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").mkdir()
    write_image(tmp_path / "x.png", np.zeros((8, 8, 3), np.uint8))
    result = _invoke(*(str(tiny_bundle) if word == "BUNDLE" else word for word in words))
    assert "is a URL, and only files on this machine are opened: download it, and give the file" in str(
        result.exception
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DATA", "x.png"]


@pytest.mark.parametrize("words", [
    ("train", "DATA", "-o", URL), ("export", "DATA", "-o", URL), ("plot", "DATA", "-o", URL),
    ("dataset", "make", "-o", URL), ("translate", "BUNDLE", "DATA", "-o", URL), ("demo", "-o", URL),
    ("video", "BUNDLE", "x.mp4", "-o", f"{URL}.mp4"),
], ids=" ".join)  # fmt: skip
def test_nothing_is_written_to_a_url(tmp_path, tiny_bundle, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").mkdir()
    result = _invoke(*(str(tiny_bundle) if word == "BUNDLE" else word for word in words))
    assert "is a URL, and output goes to files on this machine: give a path" in str(result.exception)
    assert list(tmp_path.iterdir()) == [tmp_path / "DATA"]


def test_a_file_url_is_the_path_in_it(tmp_path):
    if os.name == "nt":
        pytest.skip("paths of file URLs are Unix's here")
    (tmp_path / "a b").mkdir()
    result = _invoke("plot", f"file://{tmp_path}/a%20b")
    assert "URL" not in str(result.exception)
    assert str(tmp_path / "a b") in str(result.exception)


@pytest.mark.parametrize("words", [("train", "nowhere", "-o", "run"), ("export", "nowhere", "-o", "b")], ids=" ".join)
def test_a_missing_path_is_one_sentence(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match="^nowhere does not exist: check the path$"):
        raise _invoke(*words).exception


def test_a_folder_with_a_slash_or_that_is_there_takes_a_file_in_it(tmp_path):
    (tmp_path / "there.mp4").mkdir()
    assert name_in(f"{tmp_path}/new/", "x.mp4") == tmp_path / "new/x.mp4"
    assert name_in(f"{tmp_path}/there.mp4", "x.mp4") == tmp_path / "there.mp4/x.mp4"
    assert name_in(f"{tmp_path}/new.mp4", "x.mp4") == tmp_path / "new.mp4"
    assert name_in("new.mp4", "x.mp4") == Path("new.mp4")


def test_a_film_goes_into_a_folder_under_its_sources_name(tmp_path, tiny_bundle):
    write_image(tmp_path / "cat.png", np.full((32, 32, 3), 99, np.uint8))
    for out in ("new/", "new"):
        result = _invoke(
            "morph", tiny_bundle, tmp_path / "cat.png", "-o", f"{tmp_path}/{out}", "--domain", "0", "--seeds", "1,2",
            "--frames-per-step", 3, "--overwrite",
        )  # fmt: skip
        assert result.return_value == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["cat.mp4", "cat.mp4.json"]
