from __future__ import annotations

import os
from pathlib import Path

import pytest

from starcast.runtime.folder.sources import find_sources

PNG = b"\x89PNG\r\n\x1a\n"
needs_links = pytest.mark.skipif(os.name == "nt", reason="links and pipes are Unix's")


def _files(folder: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _places(found) -> list[str]:
    return [source.relative.as_posix() for source in found.sources]


def test_a_folder_gives_its_images_below_it_in_order_of_name(tmp_path):
    _files(tmp_path, "b.png", "a.JPG", "deep/er/c.webp", "deep/a.tiff")
    found = find_sources([tmp_path])
    assert _places(found) == ["a.JPG", "b.png", "deep/a.tiff", "deep/er/c.webp"]
    assert found.sources[2].path == tmp_path / "deep/a.tiff"


def test_a_folder_leaves_out_what_is_hidden_and_names_what_is_no_image(tmp_path):
    _files(
        tmp_path, "a.png", ".hidden.png", ".partial-1-a.png", "__MACOSX/._a.png", ".thumbs/a.png", "notes.txt", "s.json"
    )
    found = find_sources([tmp_path])
    assert _places(found) == ["a.png"]
    assert [path.name for path in found.others] == ["notes.txt", "s.json"]


def test_an_image_is_known_by_its_content_where_the_name_says_nothing(tmp_path):
    _files(tmp_path, "photo", "other.dat", content=PNG)
    _files(tmp_path, "BM-is-text.dat", content=b"BM is how this text begins")
    found = find_sources([tmp_path])
    assert _places(found) == ["other.dat", "photo"]
    assert [path.name for path in found.others] == ["BM-is-text.dat"]


def test_images_that_cannot_be_read_are_sources_so_that_they_are_reported(tmp_path):
    _files(tmp_path, "a.heic", "b.svg", "c.psd", "d.nef")
    assert _places(find_sources([tmp_path])) == ["a.heic", "b.svg", "c.psd", "d.nef"]


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path):
    _files(tmp_path, "x.png/inside.png")
    assert _places(find_sources([tmp_path])) == ["x.png/inside.png"]


@needs_links
def test_links_and_pipes_are_sources_and_never_opened(tmp_path):
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    found = find_sources([tmp_path])
    assert _places(found) == ["broken.png", "pipe.png"]


@needs_links
def test_links_that_lead_back_up_end(tmp_path):
    _files(tmp_path, "in/a.png")
    (tmp_path / "in/up").symlink_to(tmp_path)
    (tmp_path / "aside").symlink_to(tmp_path / "in")
    assert _places(find_sources([tmp_path])) == ["aside/a.png", "in/a.png"]


def test_the_output_folder_inside_a_source_folder_is_left_out(tmp_path):
    _files(tmp_path, "a.png", "out/a.png")
    assert _places(find_sources([tmp_path], leave_out=tmp_path / "out")) == ["a.png"]
    pattern = tmp_path / "**" / "*.png"
    assert _places(find_sources([pattern], leave_out=tmp_path / "out")) == ["a.png"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind this user")
def test_a_folder_without_rights_is_a_problem_and_the_rest_is_found(tmp_path):
    _files(tmp_path, "a.png", "secret/b.png")
    (tmp_path / "secret").chmod(0)
    found = find_sources([tmp_path])
    (tmp_path / "secret").chmod(0o700)
    assert _places(found) == ["a.png"]
    assert "secret cannot be searched (permission denied)" in found.problems[0]


def test_a_file_named_outright_is_a_source_whatever_it_is(tmp_path):
    _files(tmp_path, "notes.md")
    found = find_sources([tmp_path / "notes.md", tmp_path / "missing.png"])
    assert _places(found) == ["notes.md", "missing.png"]


def test_each_file_is_found_once(tmp_path, monkeypatch):
    _files(tmp_path, "a.png", "b.png")
    monkeypatch.chdir(tmp_path)
    assert _places(find_sources([Path("b.png"), Path(), tmp_path / "a.png", Path("./b.png")])) == ["b.png", "a.png"]


def test_a_pattern_keeps_places_below_its_fixed_part(tmp_path):
    _files(tmp_path, "in/a.png", "in/deep/b.png", "in/deep/c.jpg", "other/d.png")
    assert _places(find_sources([tmp_path / "in" / "**" / "*.png"])) == ["a.png", "deep/b.png"]
    assert _places(find_sources([tmp_path / "*" / "*.png"])) == ["in/a.png", "other/d.png"]
    assert _places(find_sources([tmp_path / "in" / "*"])) == ["a.png", "deep/b.png", "deep/c.jpg"]
    assert _places(find_sources([tmp_path / "in" / "[ab].png"])) == ["a.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    _files(tmp_path, "a[1].png", "a1.png")
    assert _places(find_sources([tmp_path / "a[1].png"])) == ["a[1].png"]


def test_a_pattern_that_matches_nothing_is_a_problem(tmp_path):
    found = find_sources([tmp_path / "*.png"])
    assert found.sources == []
    assert "matches nothing" in found.problems[0]


def test_a_list_names_sources_relative_to_itself(tmp_path):
    _files(tmp_path, "lists/a.png", "lists/deep/b.png", "c.png")
    list_file = tmp_path / "lists/all.txt"
    absolute = tmp_path / "lists/deep/d.png"
    _files(tmp_path, "lists/deep/d.png")
    list_file.write_bytes(
        f"\ufeff# first\r\n\r\n  a.png \r\ndeep/b.png\r\n../c.png\r\n{absolute}\r\nmissing.png".encode()
    )
    found = find_sources([list_file])
    assert _places(found) == ["a.png", "deep/b.png", "c.png", "deep/d.png", "missing.png"]
    assert [source.path.exists() for source in found.sources] == [True, True, True, True, False]


def test_a_list_may_name_folders_but_no_other_list(tmp_path):
    _files(tmp_path, "in/a.png")
    (tmp_path / "all.txt").write_text("in\nall.txt\n")
    assert _places(find_sources([tmp_path / "all.txt"])) == ["in/a.png", "all.txt"]


def test_a_list_that_is_none_is_a_problem(tmp_path):
    _files(tmp_path, "x.txt", content=bytes(100))
    found = find_sources([tmp_path / "x.txt"])
    assert found.sources == []
    assert "not a list of paths" in found.problems[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_undecodable_and_strange_names_are_found(tmp_path):
    names = [b"caf\xe9.png", b"line\nbreak.png", b" spaces .png"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(PNG)
    assert sorted(os.fsencode(source.path.name) for source in find_sources([tmp_path]).sources) == sorted(names)


def test_a_name_with_a_null_character_is_a_source_that_will_not_open(tmp_path):
    assert len(find_sources([Path("a\0b.png")]).sources) == 1
