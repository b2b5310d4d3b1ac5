from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.runtime.marks import Mark, Origin, hash_content, hash_edges, hash_place, parse_mark

CONTENT, SETTINGS, PLACE = "c" * 32, "5" * 16, "b" * 16


def test_a_mark_comes_back_from_its_text():
    mark = Mark(settings=SETTINGS, content=CONTENT, place=PLACE)
    assert mark.text == f"starcast settings={SETTINGS} content={CONTENT} place={PLACE}"
    assert parse_mark(mark.text) == mark


def test_the_mark_of_an_earlier_version_is_read():
    mark = parse_mark(f"starcast settings={SETTINGS} source={PLACE}")
    assert mark == Mark(settings=SETTINGS, edges=PLACE)
    assert parse_mark(mark.text) == mark


@settings(max_examples=50)
@given(st.none() | st.text() | st.text("starcast ettings=0f").map("starcast settings=".__add__))
def test_no_other_text_is_a_mark(text):
    assert parse_mark(text) is None


def test_the_middle_of_a_source_counts(tmp_path):
    content = bytearray(2**18)
    (tmp_path / "a").write_bytes(content)
    content[2**17] = 1
    (tmp_path / "b").write_bytes(content)
    assert hash_content(tmp_path / "a") != hash_content(tmp_path / "b")
    assert hash_edges(tmp_path / "a") == hash_edges(tmp_path / "b")


def test_a_place_is_a_path_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hash_place(tmp_path / "x" / ".." / "a.png") == hash_place(tmp_path / "a.png")
    assert Origin(tmp_path / "a.png").place == Origin(tmp_path / "." / "a.png").place
    assert hash_place(tmp_path / "a.png") != hash_place(tmp_path / "b.png")


def test_a_source_that_cannot_be_read_matches_no_mark(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        origin = Origin(path)
        assert not origin.matches(Mark(settings=SETTINGS, content=CONTENT, place=origin.place))
        assert not origin.was_edited_since(Mark(settings=SETTINGS, content=CONTENT, place=origin.place))
        assert not origin.matches(Mark(settings=SETTINGS, edges=PLACE))


@pytest.mark.parametrize("size", [0, 10, 2**16, 2**17 + 5])
def test_edges_tell_sources_apart_by_size_and_edges(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(content[:size])
    (tmp_path / "b").write_bytes(content[:size])
    (tmp_path / "c").write_bytes(content[:size] + b"x")
    assert hash_edges(tmp_path / "a") == hash_edges(tmp_path / "b")
    assert hash_edges(tmp_path / "a") != hash_edges(tmp_path / "c")
    if size:
        (tmp_path / "b").write_bytes(content[: size - 1] + b"\xfe")
        assert hash_edges(tmp_path / "a") != hash_edges(tmp_path / "b")
