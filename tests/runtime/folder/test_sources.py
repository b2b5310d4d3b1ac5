from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from starcast.absence import is_url
from starcast.images.write import write_image
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


MARK = f"starcast settings={'1' * 16} content={'2' * 32} place={'3' * 16}"


def _write_record(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"format": 1, "runs": [{"starcast": "0.1.0", "bundle": {}}]}')


def _names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


@pytest.mark.parametrize("mark", [MARK, f"starcast settings={'1' * 16} source={'4' * 16}"], ids=["today's", "earlier"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_searched_folder_leaves_out_translations_by_their_mark(tmp_path, mark, suffix):
    _files(tmp_path, "me.png")
    write_image(tmp_path / f"deep/dog.{suffix}", np.zeros((4, 4, 3), np.uint8), mark=mark)
    for argument in (tmp_path, tmp_path / "**" / "*"):
        found = find_sources([argument])
        assert _places(found) == ["me.png"]
        assert _names(found.translations, tmp_path) == [f"deep/dog.{suffix}"]


def test_a_searched_folder_leaves_out_what_is_below_a_record(tmp_path):
    _files(tmp_path, "me.png", "spotted/me.png", "spotted/deep/er/me.png", "striped/me.png", "all/cat/me.jpg")
    _write_record(tmp_path / "spotted/starcast.json")
    _write_record(tmp_path / "all/starcast.json")
    (tmp_path / "striped/starcast.json").write_text('{"title": "another program\'s"}')
    for argument in (tmp_path, tmp_path / "*", tmp_path / "**" / "*.*g"):
        found = find_sources([argument])
        assert sorted(_places(found)) == ["me.png", "striped/me.png"]
        assert sorted(_names(found.translations, tmp_path)) == [
            "all/cat/me.jpg", "spotted/deep/er/me.png", "spotted/me.png"
        ]  # fmt: skip
    assert [path.parent.name for path in find_sources([tmp_path]).others] == ["striped"]


def test_a_searched_folder_leaves_out_an_image_with_a_record_beside_it(tmp_path):
    _files(tmp_path, "me.png", "me-as-rex.png", "film.jpg", "film.jpg.json")
    _write_record(tmp_path / "me-as-rex.png.json")
    found = find_sources([tmp_path])
    assert _places(found) == ["film.jpg", "me.png"]
    assert _names(found.translations, tmp_path) == ["me-as-rex.png"]


def test_a_translation_that_is_named_is_a_source(tmp_path):
    write_image(tmp_path / "out/dog.png", np.zeros((4, 4, 3), np.uint8), mark=MARK)
    _write_record(tmp_path / "out/starcast.json")
    (tmp_path / "list.txt").write_text("out/dog.png\n")
    for argument in ("out/dog.png", "out/*.png", "list.txt"):
        assert len(find_sources([tmp_path / argument]).sources) == 1
    assert len(find_sources([tmp_path], take_translations=True).sources) == 1


def test_a_photograph_in_a_named_folder_with_a_record_is_a_source(tmp_path):
    _files(tmp_path, "me.png")
    _write_record(tmp_path / "starcast.json")
    assert _places(find_sources([tmp_path])) == ["me.png"]


def _list(folder: Path, *lines: str) -> list[str]:
    (folder / "list.txt").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    return _places(find_sources([folder / "list.txt"]))


@pytest.mark.parametrize("name", [
    "#1 best.png", "# a.png", " leading.png", "'quoted'.png", '"double".png', "two words.png", "~a.png", "a#b.png",
    "back\\slash.png", "a[1].png", "what?.png", "per%20cent.png", "file:a.png", "caf\xe9.png", "画.png",
])  # fmt: skip
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_line_that_is_a_file_as_it_is_written_is_that_file(tmp_path, name):
    _files(tmp_path, name)
    assert _list(tmp_path, name) == [name]
    assert _list(tmp_path, f"{name}\r") == [name]


@pytest.mark.parametrize("line", [
    '"my best/a b.png"', "'my best/a b.png'", "  my best/a b.png\t", "my\\ best/a\\ b.png", "my best\\a b.png",
    '"my best\\a b.png"', "file:///{tmp}/my%20best/a%20b.png", "file://localhost/{tmp}/my%20best/a%20b.png",
    "~/my best/a b.png", '"~/my best/a b.png"', "/{tmp}/my best/a b.png", "./my best/a b.png", "my best",
])  # fmt: skip
@pytest.mark.skipif(os.name == "nt", reason="paths of Unix")
def test_a_line_may_be_written_as_people_paste_it(tmp_path, monkeypatch, line):
    monkeypatch.setenv("HOME", str(tmp_path))
    _files(tmp_path, "my best/a b.png")
    assert _list(tmp_path, line.replace("{tmp}", str(tmp_path).lstrip("/"))) == ["my best/a b.png"]


def test_a_line_may_be_a_pattern_in_quotes(tmp_path):
    _files(tmp_path, "my best/a b.png")
    assert _list(tmp_path, '"my best/*.png"') == _list(tmp_path, "my best/*.png") == ["a b.png"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp1252"])
def test_lists_of_windows_programs_are_read(tmp_path, encoding):
    _files(tmp_path, "a.png", "caf\xe9.png")
    content = "a.png\r\ncaf\xe9.png\r\n# comment\r\n".encode(encoding)
    (tmp_path / "list.txt").write_bytes(b"\xfe\xff" + content if encoding == "utf-16-be" else content)
    assert _places(find_sources([tmp_path / "list.txt"])) == ["a.png", "caf\xe9.png"]


def test_comments_and_blank_lines_of_a_list_are_no_sources(tmp_path):
    _files(tmp_path, "a.png")
    assert _list(tmp_path, "# the best", "", "  ", "\t# more", "#", "a.png", "missing.png") == ["a.png", "missing.png"]


def test_a_url_in_a_list_stays_a_url(tmp_path):
    (tmp_path / "list.txt").write_text("https://example.org/a.png\n")
    [source] = find_sources([tmp_path / "list.txt"]).sources
    assert is_url(source.path)


@pytest.mark.parametrize("caption", ["a photograph of a cat", "cat, sitting, 4k", "", "me.png is what?\n", "notes"])
def test_a_caption_beside_its_image_is_no_list(tmp_path, caption):
    _files(tmp_path, "me.png", "notes")
    (tmp_path / "me.txt").write_text(f"{caption}\nphotograph by M.")
    found = find_sources([tmp_path / "me.png", tmp_path / "me.txt"])
    assert _places(found) == ["me.png"]
    assert found.texts == [tmp_path / "me.txt"]
    assert found.problems == []


def test_notes_that_a_shell_picked_up_are_no_list_but_a_list_of_missing_images_is(tmp_path):
    _files(tmp_path, "me.png")
    (tmp_path / "README.txt").write_text("These are my photographs.\nDo not delete!\n")
    found = find_sources([tmp_path / "README.txt", tmp_path / "me.png"])
    assert _places(found) == ["me.png"]
    assert found.texts == [tmp_path / "README.txt"]
    assert _list(tmp_path, "not-here.png") == ["not-here.png"]
    _files(tmp_path, "all.png", "b.png")
    (tmp_path / "all.txt").write_text("me.png\nb.png\n")
    assert _places(find_sources([tmp_path / "all.txt"])) == ["me.png", "b.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("folder", ["photos [2020]", "what?", "a*b", "[x]", "deep/photos [a-c] [1]"])
def test_a_pattern_takes_a_folder_with_brackets_by_its_name(tmp_path, folder):
    _files(tmp_path, f"{folder}/a.jpg", f"{folder}/deep/b.jpg", "photos 2/c.jpg", "x/d.jpg", "whats/e.jpg", "ab/f.jpg")
    assert _places(find_sources([tmp_path / folder / "*.jpg"])) == ["a.jpg"]
    assert _places(find_sources([tmp_path / folder / "**" / "*.jpg"])) == ["a.jpg", "deep/b.jpg"]


def test_brackets_after_a_wildcard_are_letters_where_a_name_has_them(tmp_path):
    _files(tmp_path, "a/[1]/x.jpg", "b/1/y.jpg", "IMG [1] 1.png", "IMG 1.png")
    assert _places(find_sources([tmp_path / "*" / "[1]" / "*.jpg"])) == ["a/[1]/x.jpg"]
    assert _places(find_sources([tmp_path / "*" / "[12]" / "*.jpg"])) == ["b/1/y.jpg"]
    assert _places(find_sources([tmp_path / "IMG [1]*.png"])) == ["IMG [1] 1.png"]
    assert _places(find_sources([tmp_path / "IMG [0-9].png"])) == ["IMG 1.png"]


@pytest.mark.skipif(os.name == "nt", reason="paths of Unix")
def test_a_home_folder_in_quotes_and_a_file_url_are_the_paths_they_mean(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _files(tmp_path, "in/a b.png")
    for argument in ("~/in", "~/in/*.png", f"file://{tmp_path}/in/a%20b.png", f"file:{tmp_path}/in/a%20b.png"):
        assert _places(find_sources([Path(argument)])) == ["a b.png"]
