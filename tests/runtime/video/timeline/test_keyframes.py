from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from starcast.errors import OptionError
from starcast.runtime.video.timeline.key_times import parse_duration, parse_time
from starcast.runtime.video.timeline.keyframes import StyleKey, parse_keys, parse_numbers


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("2.5", "5/2"), ("2.5s", "5/2"), ("500ms", "1/2"), (".5", "1/2"), ("1:30", 90), ("90:00", 5400),
        ("00:01:30.500", "181/2"), ("1:00:00", 3600), ("50f", 2), ("50%", 30), ("12.5%", "15/2"), (7, 7), (2.5, "5/2"),
    ],
)  # fmt: skip
def test_a_time_is_seconds_a_clock_a_frame_or_a_part(text, seconds):
    time = parse_time(text)
    assert time is not None
    assert time.seconds(Fraction(25), Fraction(60)) == Fraction(seconds)


@pytest.mark.parametrize(
    "text", ["", "dog", "-1", "1.5f", "101%", "1e3", "nan", "1:2:3:4", "٣", True, None, [1], "9" * 99]
)
def test_what_is_no_time_is_none(text):
    assert parse_time(text) is None


def test_a_part_of_an_unknown_duration_is_refused():
    with pytest.raises(OptionError, match="50% of a video whose duration is unknown: give the time in seconds"):
        parse_time("50%").seconds(Fraction(25), None)


def test_a_duration_is_a_time_in_seconds():
    assert parse_duration("1:30", "--duration") == 90
    for text in ("0", "50%", "25f", "long"):
        with pytest.raises(OptionError, match=f"--duration is {text}: give a duration"):
            parse_duration(text, "--duration")


def plain(keys):
    return [
        {name: value for name, value in vars(key).items() if value not in (None, ()) and name != "time"}
        | {"time": key.time.text}
        for key in keys
    ]


def test_keys_are_read_as_an_artist_writes_them():
    keys = parse_keys("0 dog seed=7; 2.5s cat ref='my cats/a;b.jpg' psi=0.7; 50%: wild seed=3 hold; 1:10:wild;")
    assert plain(keys) == [
        {"time": "0", "ease": "smooth", "domain": "dog", "seed": 7},
        {"time": "2.5s", "ease": "smooth", "domain": "cat", "ref": Path("my cats/a;b.jpg"), "psi": 0.7},
        {"time": "50%", "ease": "hold", "domain": "wild", "seed": 3},
        {"time": "1:10", "ease": "smooth", "domain": "wild"},
    ]


def test_a_windows_path_stays_whole():
    [key] = parse_keys(r"0 cat ref=C:\cats\tom.jpg")
    assert str(key.ref) == str(Path(r"C:\cats\tom.jpg"))


def test_labels_are_lists():
    [first, second] = parse_keys("0 set=Blond_Hair,Male has=Young; 5 labels=1,0,0.5 linear")
    assert (first.set, first.has) == (("Blond_Hair", "Male"), ("Young",))
    assert (second.labels, second.ease) == ((1.0, 0.0, 0.5), "linear")


def test_yaml_says_the_same_and_its_paths_are_its_own(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text(
        "- {time: 0, domain: dog, seed: 7}\n- {time: 1:30, domain: cat, ref: tom.jpg, ease: hold}\n"
        "- {time: 50%, set: [A, B], psi: 0.7}\n- {time: 120f, labels: [1, 0]}\n"
    )
    keys = parse_keys(str(file))
    assert plain(keys) == [
        {"time": "0", "ease": "smooth", "domain": "dog", "seed": 7},
        {"time": "1:30", "ease": "hold", "domain": "cat", "ref": tmp_path / "tom.jpg"},
        {"time": "50%", "ease": "smooth", "set": ("A", "B"), "psi": 0.7},
        {"time": "120f", "ease": "smooth", "labels": (1.0, 0.0)},
    ]
    assert all(isinstance(key, StyleKey) for key in parse_keys([{"time": 1, "seed": 2}]))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "has 0 keys"),
        ("dog; 2 cat", "has dog, and a key begins with its time"),
        ("0", "at 0 has no style"),
        ("0 dog cat", "has two values for domain"),
        ("0 dog sed=3", "at 0 has sed: give domain, seed, ref"),
        ("0 dog seed=x", "seed x is not a number"),
        ("0 dog seed=1.5", "is no seed"),
        ("0 dog seed=-1", "is no seed"),
        ("0 dog seed=1 ref=a.jpg", "has seed and ref: a style has one of them"),
        ("0 dog psi=3", "psi is out of range: give 0 to 2"),
        ("0 dog ease=fast", "another ease than smooth, linear, hold"),
        ("0 dog ref='a", "open quote"),
        ([3], "a key is not a mapping"),
        ([{"domain": "dog"}], "has a key without a time"),
        ([{"time": [1], "domain": "dog"}], "begins with its time"),
        ([{"time": 1, "domain": ["dog"]}], "domain is not a name"),
        ([{"time": 1, "seed": True}], "is not a number"),
        ({"time": 1}, "give a list of keys"),
        (None, "give a list of keys"),
        ([{"time": 1, "seed": 1}] * 10_001, "has 10001 keys"),
    ],
)
def test_a_wrong_key_is_refused_in_one_sentence(given, reason):
    with pytest.raises(OptionError, match=reason):
        parse_keys(given)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("- {time: 1", "is no YAML in line"), ("a: &a [*a]", "line 1: aliases"), ("", "give a list of keys")],
)
def test_a_file_that_is_no_keys_is_refused(tmp_path, content, reason):
    (tmp_path / "keys.yml").write_text(content)
    with pytest.raises(OptionError, match=reason):
        parse_keys(str(tmp_path / "keys.yml"))


def test_a_missing_file_of_keys_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"none\.yaml does not exist"):
        parse_keys(str(tmp_path / "none.yaml"))


def numbers(text: str):
    keys = parse_numbers(text, "--zoom", minimum=(0.5,), maximum=(2.0,))
    return [(key.time.text, *key.values, key.ease) for key in keys]


def test_a_number_is_constant_or_keyed():
    assert numbers("1.02") == [("0", 1.02, "smooth")]
    for text in ("0 1; 10s 1.05 hold", "0: 1; 10s: 1.05 hold", "0:1; 10s:1.05 hold"):
        assert numbers(text) == [("0", 1.0, "smooth"), ("10s", 1.05, "hold")]
    [key] = parse_numbers("1.5,-2", "--shift", minimum=(-9, -9), maximum=(9, 9))
    assert key.values == (1.5, -2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("3", "--zoom at 0 is 3: give 0.5 to 2"), ("0 1; 5s", "give a time and a value"), ("0 1 2", "two values"),
        ("x", "--zoom at 0 x is not a number"), ("0 nan", "is not a number"), ("0 1,1", "has 2 numbers: give 1"),
        ("0 1 fast=2", "give a time and a value"),
    ],
)  # fmt: skip
def test_a_wrong_number_is_refused(text, reason):
    with pytest.raises(OptionError, match=reason):
        numbers(text)
