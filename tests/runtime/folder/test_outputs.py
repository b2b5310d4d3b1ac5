from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.errors import OptionError
from starcast.images.write import write_image
from starcast.runtime.folder.outputs import (
    State,
    is_one_file,
    output_paths,
    refuse_to_overwrite_sources,
    safe_names,
    state_of,
)
from starcast.runtime.folder.sources import SourceFile

OUT = Path("out")


def _sources(*places: str) -> list[SourceFile]:
    return [SourceFile(Path("in") / place, PurePath(place)) for place in places]


def _names(*places: str, labels: tuple[str, ...] = ("dog",)) -> list[str]:
    return [path.as_posix() for group in output_paths(_sources(*places), labels, OUT, ".png") for path in group]


def test_one_style_keeps_the_layout_below_the_output_folder():
    assert _names("a.jpg", "deep/b.tiff", "no-suffix") == ["out/a.png", "out/deep/b.png", "out/no-suffix.png"]


def test_several_styles_have_a_folder_each():
    assert _names("deep/a.jpg", labels=("cat", "dog")) == ["out/cat/deep/a.png", "out/dog/deep/a.png"]


def test_names_that_differ_in_the_suffix_keep_it():
    assert _names("a.jpg", "a.png", "b.png") == ["out/a.jpg.png", "out/a.png.png", "out/b.png"]
    assert _names("a.jpg", "A.png") == ["out/a.jpg.png", "out/A.png.png"]


def test_equal_names_from_two_folders_are_numbered():
    assert _names("a.png", "a.png", "a.png") == ["out/a.png.png", "out/a.png-2.png", "out/a.png-3.png"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("aAéÉ.-2/", min_size=1, max_size=6)))
def test_no_two_sources_share_a_place(places):
    places = [place.strip("/") for place in places if PurePath(place.strip("/")).name]
    names = [name.casefold() for name in _names(*places)]
    assert len(set(names)) == len(places)


def test_a_name_that_would_be_too_long_is_cut_and_stays_distinct():
    long = "画" * 84  # 252 bytes
    first, second = output_paths(_sources(f"{long}a.x", f"{long}b.x"), ["dog"], OUT, ".webp")
    assert first != second
    assert all(len(path.name.encode()) <= 255 for path in (*first, *second))


def test_labels_become_names_that_every_file_system_takes():
    assert safe_names(["a/b", "a:b", "..", "", "x" * 400][:4]) == ["a_b", "a_b-2", "style", "style-2"]
    assert len(safe_names(["x" * 400])[0]) <= 255


def test_an_output_with_the_suffix_of_an_image_is_a_file_for_one_source_and_style(tmp_path):
    assert is_one_file(Path("out.PNG"), 1, 1)
    assert not is_one_file(Path("out"), 1, 1)
    assert not is_one_file(Path("out.v2"), 1, 1)
    (tmp_path / "folder.png").mkdir()
    assert not is_one_file(tmp_path / "folder.png", 1, 1)


@pytest.mark.parametrize(("name", "sources", "styles", "cause"), [
    ("out.png", 2, 1, "but 2 would be written"), ("out.png", 1, 3, "but 3 would be written"),
    ("out.gif", 1, 1, "end it in"),
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


def test_what_is_there_is_known_by_mark_size_and_wholeness(tmp_path):
    path = tmp_path / "a.png"
    assert state_of(path, "mine", (6, 5)) is State.ABSENT
    write_image(path, np.zeros((6, 5, 3), np.uint8), mark="mine")
    assert state_of(path, "mine", (6, 5)) is State.DONE
    assert state_of(path, "other", (6, 5)) is State.OTHER
    assert state_of(path, "mine", (5, 6)) is State.OTHER
    path.write_bytes(path.read_bytes()[:-30])
    assert state_of(path, "mine", (6, 5)) is State.DAMAGED
    write_image(path, np.zeros((6, 5, 3), np.uint8))
    assert state_of(path, "mine", (6, 5)) is State.OTHER
