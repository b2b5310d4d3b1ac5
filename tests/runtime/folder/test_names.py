from __future__ import annotations

from pathlib import Path, PurePath

from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.runtime.folder.names import output_paths, safe_names
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
@given(st.lists(st.text("aAéÉ.-2/", min_size=1, max_size=6) | st.sampled_from(["a.png/a", "A.PNG/é", "a.png.png/2"])))
def test_no_two_sources_share_a_place_and_none_is_a_folder_of_another(places):
    places = [place.strip("/") for place in places if PurePath(place.strip("/")).name]
    names = [name.casefold() for name in _names(*places)]
    assert len(set(names)) == len(places)
    folders = {parent.as_posix() for name in names for parent in PurePath(name).parents}
    assert not folders & set(names)


def test_an_image_beside_a_folder_that_has_the_name_of_its_translation_keeps_its_suffix():
    assert _names("x.jpg", "x.png/inside.png") == ["out/x.jpg.png", "out/x.png/inside.png"]
    assert _names("X.PNG/a.png", "x.jpg") == ["out/X.PNG/a.png", "out/x.jpg.png"]
    assert _names("x.jpg", "x.png/a.png", "x.jpg.png/a.png") == [
        "out/x.jpg-2.png", "out/x.png/a.png", "out/x.jpg.png/a.png"
    ]  # fmt: skip


def test_no_folder_takes_the_name_of_the_record():
    assert _names("starcast.json/a.png", "Starcast.JSON/b.png") == [
        "out/starcast.json-2/a.png", "out/Starcast.JSON-2/b.png"
    ]  # fmt: skip
    assert _names("starcast.json") == ["out/starcast.png"]
    assert safe_names(["starcast.json", "dog"]) == ["starcast.json-2", "dog"]


def test_a_name_that_would_be_too_long_is_cut_and_stays_distinct():
    long = "画" * 84  # 252 bytes
    first, second = output_paths(_sources(f"{long}a.x", f"{long}b.x"), ["dog"], OUT, ".webp")
    assert first != second
    assert all(len(path.name.encode()) <= 255 for path in (*first, *second))


def test_labels_become_names_that_every_file_system_takes():
    assert safe_names(["a/b", "a:b", "..", "", "x" * 400][:4]) == ["a_b", "a_b-2", "style", "style-2"]
    assert len(safe_names(["x" * 400])[0]) <= 255
