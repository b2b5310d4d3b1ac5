from __future__ import annotations

import os
import socket
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from starcast.errors import OptionError
from starcast.images.write import write_image
from starcast.runtime.folder.outputs import State, is_one_file, obstacle_at, refuse_to_overwrite_sources, state_of
from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.marks import Mark, Origin, hash_content, hash_edges, hash_place

MINE, OTHERS = "1" * 16, "2" * 16
SHAPE = (6, 5)


def test_an_output_with_the_suffix_of_an_image_is_a_file_for_one_source_and_style(tmp_path):
    assert is_one_file(Path("out.PNG"), 1, 1)
    assert not is_one_file(Path("out"), 1, 1)
    assert not is_one_file(Path("out.v2"), 1, 1)
    (tmp_path / "folder.png").mkdir()
    assert not is_one_file(tmp_path / "folder.png", 1, 1)


@pytest.mark.parametrize(("name", "sources", "styles", "cause"), [
    ("out.png", 2, 1, "but 2 would be written"), ("out.png", 1, 3, "but 3 would be written"),
    ("out.gif", 1, 1, "end it in"), ("out.heic", 1, 1, "end it in"), ("out.mp4", 1, 1, "end it in"),
])  # fmt: skip
def test_an_output_file_that_cannot_be_is_wrong_use(name, sources, styles, cause):
    with pytest.raises(OptionError, match=cause):
        is_one_file(Path(name), sources, styles)


def test_an_output_folder_that_is_a_file_is_wrong_use(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OptionError, match="is a file"):
        is_one_file(tmp_path / "out", 2, 1)


def test_a_translation_never_takes_the_place_of_a_source(tmp_path):
    source = SourceFile(tmp_path / "a.png", PurePath("a.png"))
    with pytest.raises(OptionError, match="is a source"):
        refuse_to_overwrite_sources([source], [(tmp_path / "x" / ".." / "a.png",)])


def test_a_translation_never_takes_the_place_of_a_reference(tmp_path):
    source = SourceFile(tmp_path / "in/a.png", PurePath("a.png"))
    with pytest.raises(OptionError, match=r"refs/a\.png is a reference"):
        refuse_to_overwrite_sources([source], [(tmp_path / "refs/a.png",)], [tmp_path / "refs/a.png"])


def _source(folder: Path, content: bytes = b"a source") -> Path:
    (folder / "source.bmp").write_bytes(content)
    return folder / "source.bmp"


def _write(path: Path, mark: str | None) -> None:
    write_image(path, np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8), mark=mark)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_translation_is_known_by_its_settings_its_source_and_its_size(tmp_path, suffix):
    source, path = _source(tmp_path), tmp_path / f"a.{suffix}"
    assert state_of(path, MINE, Origin(source), SHAPE) is State.ABSENT
    _write(path, Mark(settings=MINE, content=hash_content(source), place=hash_place(source)).text)
    assert state_of(path, MINE, Origin(source), SHAPE) is State.DONE
    assert state_of(path, MINE, Origin(source), None) is State.DONE
    assert state_of(path, OTHERS, Origin(source), SHAPE) is State.OTHER
    assert state_of(path, MINE, Origin(source), SHAPE[::-1]) is State.OTHER


def test_an_edited_source_is_told_from_another_one(tmp_path):
    source, path = _source(tmp_path), tmp_path / "a.png"
    _write(path, Mark(settings=MINE, content=hash_content(source), place=hash_place(source)).text)
    (tmp_path / "elsewhere").mkdir()
    assert state_of(path, MINE, Origin(_source(tmp_path / "elsewhere")), SHAPE) is State.DONE
    assert state_of(path, MINE, Origin(_source(tmp_path / "elsewhere", b"edited")), SHAPE) is State.OTHER
    assert state_of(path, MINE, Origin(_source(tmp_path, b"edited")), SHAPE) is State.STALE
    source.unlink()
    assert state_of(path, MINE, Origin(source), SHAPE) is State.OTHER


def test_a_translation_of_an_earlier_version_is_known_by_the_size_and_edges_of_its_source(tmp_path):
    source, path = _source(tmp_path, bytes(2**18)), tmp_path / "a.png"
    _write(path, f"starcast settings={MINE} source={hash_edges(source)}")
    assert state_of(path, MINE, Origin(source), SHAPE) is State.DONE
    assert state_of(path, OTHERS, Origin(source), SHAPE) is State.OTHER
    assert state_of(path, MINE, Origin(_source(tmp_path, bytes(2**18 - 1))), SHAPE) is State.OTHER


def test_a_translation_that_is_cut_short_is_still_known(tmp_path):
    source, path = _source(tmp_path), tmp_path / "a.png"
    _write(path, Mark(settings=MINE, content=hash_content(source), place=hash_place(source)).text)
    path.write_bytes(path.read_bytes()[:-30])
    assert state_of(path, MINE, Origin(source), SHAPE) is State.DAMAGED
    assert state_of(path, OTHERS, Origin(source), SHAPE) is State.OTHER


FOREIGN = {
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(100),
    "text": b"notes on my photographs",
    "empty": b"",
    "half a PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_cannot_be_read_is_not_ours(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert state_of(tmp_path / "a.png", MINE, Origin(_source(tmp_path)), SHAPE) is State.FOREIGN


@pytest.mark.parametrize("software", [None, "GIMP 2.10", "starcast", "starcast settings=x source=y", ""])
def test_an_image_without_our_mark_is_not_ours(tmp_path, software):
    _write(tmp_path / "a.png", software)
    assert state_of(tmp_path / "a.png", MINE, Origin(_source(tmp_path)), SHAPE) is State.FOREIGN


def test_an_image_with_more_pixels_than_the_limit_is_not_ours(tmp_path):
    Image.new("1", (20_000, 11_000)).save(tmp_path / "a.png")
    assert state_of(tmp_path / "a.png", MINE, Origin(_source(tmp_path)), SHAPE) is State.FOREIGN


@pytest.mark.skipif(os.name == "nt", reason="links, pipes and sockets are Unix's")
def test_pipes_sockets_and_links_that_lead_nowhere_are_not_ours_and_never_opened(tmp_path, monkeypatch):
    origin = Origin(_source(tmp_path))
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    os.mkfifo("pipe.png")
    Path("link.png").symlink_to("nowhere")
    Path("folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        for name in ("pipe", "link", "folder", "socket"):
            assert state_of(Path(f"{name}.png"), MINE, origin, SHAPE) is State.FOREIGN
        obstacles = {name: obstacle_at(Path(f"{name}.png")) for name in ("pipe", "socket", "folder", "link", "source")}
    assert obstacles["link"] is None
    assert obstacles["source"] is None
    assert obstacles["folder"] == "a folder"
    assert obstacles["pipe"] == obstacles["socket"] == "a pipe, a socket or a device"


def test_a_file_where_a_folder_is_needed_is_an_obstacle(tmp_path):
    source = _source(tmp_path)
    assert obstacle_at(source / "deep" / "a.png") == f"{source} is not a folder"
    assert obstacle_at(tmp_path / "new" / "deep" / "a.png") is None
