from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.errors import OptionError, StyleError
from starcast.images.write import write_image
from starcast.options import as_json, from_json
from starcast.runtime.domains import domain_in_name, domain_index
from starcast.runtime.manifest import LabelMaker
from starcast.runtime.options import StyleOptions
from starcast.runtime.seed_lists import LARGEST_SEED
from starcast.runtime.style_requests import StyleRequest, requests_from

DOMAINS = ("cat", "dog", "wild")
CLASSES = LabelMaker(names=DOMAINS, classes=3)


def _requests(domains=DOMAINS, **options):
    return requests_from(StyleOptions(**options), domains)


def _write_images(folder: Path, *names: str) -> Path:
    for name in names:
        write_image(folder / name, np.zeros((4, 4, 3), np.uint8))
    return folder


def test_a_command_may_leave_out_the_only_domain():
    assert _requests(("face",), seed=3) == [StyleRequest(domain="face", seed=3)]
    assert _requests(("face",), ref=Path("x.png")) == [StyleRequest(domain="face", reference=Path("x.png"))]


@pytest.mark.parametrize("options", [{}, {"seed": 7}])
def test_a_missing_domain_is_answered_with_the_domains_and_all(options):
    with pytest.raises(StyleError, match=r"--domain: cat \(0\), dog \(1\), wild \(2\), or all"):
        _requests(**options)


def test_the_seed_is_0_where_nothing_else_is_said():
    assert _requests(domain="dog") == [StyleRequest(domain="dog", seed=0)]


def test_all_domains_give_a_style_each_in_their_order():
    assert _requests(domain="all", seed=5, psi=0.5) == [
        StyleRequest(domain=domain, seed=5, psi=0.5) for domain in DOMAINS
    ]
    assert [request.domain for request in _requests(domain="all", ref=Path("x.png"))] == list(DOMAINS)


def test_a_domain_that_is_called_all_is_one_domain():
    assert [request.domain for request in _requests(("all", "none"), domain="all")] == ["all"]


def test_seed_and_reference_exclude_each_other():
    with pytest.raises(OptionError, match="--seed and --ref exclude each other"):
        StyleOptions(domain="dog", seed=0, ref=Path("x.png"))


@pytest.mark.parametrize(("options", "flag"), [({"seed": -1}, "--seed"), ({"seed": LARGEST_SEED + 1}, "--seed"),
                                               ({"psi": -0.1}, "--psi"), ({"psi": float("nan")}, "--psi")])  # fmt: skip
def test_values_that_cannot_work_name_their_flag(options, flag):
    with pytest.raises(OptionError, match=flag):
        StyleOptions(domain="dog", **options)


def test_a_reference_says_its_domain_by_its_name_or_is_told_one():
    assert _requests(ref=Path("in/1-ref.jpg")) == [StyleRequest(domain="dog", reference=Path("in/1-ref.jpg"))]
    assert [request.domain for request in _requests(ref=Path("1-ref.jpg"), domain="wild")] == ["wild"]
    with pytest.raises(StyleError, match=r"rex\.jpg does not say which domain it belongs to: give --domain \(cat"):
        _requests(ref=Path("rex.jpg"))


def test_a_folder_gives_its_references_by_domain_and_name(tmp_path):
    _write_images(tmp_path, "2-b.png", "dog-b.png", "dog-a.png", "1.png", "rex.png", "cat.png", ".dog-hidden.png")
    (tmp_path / "dog.txt").write_text("no image")
    _write_images(tmp_path / "dog-more", "dog-deep.png")
    found = [(request.domain, request.reference.name) for request in _requests(ref=tmp_path, psi=0.7)]
    assert found == [
        ("cat", "cat.png"), ("dog", "1.png"), ("dog", "dog-a.png"), ("dog", "dog-b.png"), ("wild", "2-b.png")
    ]  # fmt: skip
    assert [request.reference.name for request in _requests(ref=tmp_path, domain="2")] == ["2-b.png", "rex.png"]
    assert len(_requests(ref=tmp_path, domain="all")) == 5


@pytest.mark.parametrize(("domain", "wanted"), [(None, "cat or dog or wild"), ("wild", "wild")])
def test_a_folder_without_a_fitting_reference_says_how_to_name_them(tmp_path, domain, wanted):
    _write_images(tmp_path, "dog.png" if domain else "rex.png", "1.png" if domain else "x.png")
    with pytest.raises(StyleError, match=f"no image whose name begins with {wanted} or its number"):
        _requests(ref=tmp_path, domain=domain)


def _names_of_references(**options: object) -> tuple[list[tuple[str, str]], list[str]]:
    """(domain, path below the folder) of each reference, and the lines about what is left out."""
    lines: list[str] = []
    requests = requests_from(StyleOptions(**options), DOMAINS, progress=lines.append)
    root = options["ref"]
    return [(request.domain, request.reference.relative_to(root).as_posix()) for request in requests], lines


def test_references_that_name_no_domain_are_of_the_one_that_was_asked_for(tmp_path):
    _write_images(tmp_path, "wild-a.png", "rex.png", "2020.png", "00001.png")
    names, lines = _names_of_references(ref=tmp_path, domain="wild")
    assert names == [("wild", name) for name in ("00001.png", "2020.png", "rex.png", "wild-a.png")]
    assert lines == []


def test_references_that_are_left_out_are_named_with_the_reason(tmp_path):
    _write_images(tmp_path, "dog-a.png", "cat-a.png", "rex.png", "holiday/bella.png")
    (tmp_path / "notes.md").write_text("no image")
    names, lines = _names_of_references(ref=tmp_path)
    assert names == [("cat", "cat-a.png"), ("dog", "dog-a.png")]
    assert [line.rpartition(": ")[2] for line in lines] == [
        f"{tmp_path / 'notes.md'}", f"{tmp_path / 'holiday/bella.png'}, {tmp_path / 'rex.png'}"
    ]  # fmt: skip
    names, lines = _names_of_references(ref=tmp_path, domain="dog")
    assert names == [("dog", "dog-a.png"), ("dog", "rex.png")]
    assert [line.rpartition(": ")[2] for line in lines] == [
        f"{tmp_path / 'notes.md'}", f"{tmp_path / 'holiday/bella.png'}", f"{tmp_path / 'cat-a.png'}"
    ]  # fmt: skip
    assert "other domains than dog" in lines[2]


def test_a_subfolder_with_a_domains_name_or_number_holds_its_references(tmp_path):
    _write_images(tmp_path, "Dog/1.png", "Dog/deep/cat.png", "2/x.png", "cat/wild.png", "dogs/y.png", "02/z.png")
    names, lines = _names_of_references(ref=tmp_path)
    assert names == [("cat", "cat/wild.png"), ("dog", "Dog/1.png"), ("dog", "Dog/deep/cat.png"), ("wild", "2/x.png")]
    assert len(lines) == 1
    assert "dogs/y.png" in lines[0]
    assert "02/z.png" in lines[0]
    assert _names_of_references(ref=tmp_path, domain="wild")[0] == [("wild", "2/x.png")]


@pytest.mark.parametrize("domain", [None, "dog"])
def test_a_folder_with_a_domains_name_holds_its_references_however_they_are_numbered(tmp_path, domain):
    _write_images(tmp_path / "dog", "0.png", "1.png", "3.png", "rex.png")
    names, lines = _names_of_references(ref=tmp_path / "dog", domain=domain)
    assert [name for name, _ in names] == ["dog"] * 4
    assert lines == []


def test_many_references_that_are_left_out_are_one_line(tmp_path):
    _write_images(tmp_path, "dog.png", *(f"x{number}.png" for number in range(13)))
    _, [line] = _names_of_references(ref=tmp_path)
    assert line.endswith("x6.png and 3 more")


def test_where_one_style_is_taken_all_domains_are_not_offered():
    with pytest.raises(StyleError, match=r"wild \(2\)$"):
        requests_from(StyleOptions(), DOMAINS, several=False)


def test_a_domain_of_a_bundle_steered_by_labels_is_its_label():
    request, *others = requests_from(StyleOptions(domain="dog"), DOMAINS, labels=CLASSES)
    assert (request, others) == (StyleRequest(domain="dog"), [])
    assert request.arguments == {"labels": {"dog": 1.0}, "psi": 1.0}


def test_labels_name_domain_and_origin():
    assert StyleRequest(domain="dog").label == "dog"
    assert StyleRequest(domain="dog", seed=7).label == "dog-seed7"
    assert StyleRequest(domain="dog", reference=Path("in/rex.v2.jpg")).label == "dog-rex.v2"


@given(
    domain=st.none() | st.text(max_size=8), psi=st.floats(0, 2),
    origin=st.none() | st.integers(0, LARGEST_SEED) | st.text("abc./", min_size=1, max_size=9).map(Path),
)  # fmt: skip
def test_options_come_back_from_json_as_they_were(domain, psi, origin):
    options = StyleOptions(
        domain=domain, psi=psi, seed=origin if isinstance(origin, int) else None,
        ref=origin if isinstance(origin, Path) else None,
    )  # fmt: skip
    assert from_json(StyleOptions, as_json(options), "run.json") == options


@pytest.mark.parametrize(("domain", "number"), [("cat", 0), ("wild", 2), ("1", 1), (2, 2), (np.int64(1), 1), ("01", 1)])
def test_a_domain_is_found_by_name_or_number(domain, number):
    assert domain_index(domain, DOMAINS) == number


def test_a_name_comes_before_a_number_that_is_spelt_alike():
    assert domain_index("1", ("0", "2", "1")) == 2
    assert domain_index(1, ("0", "2", "1")) == 1


@pytest.mark.parametrize("domain", ["cow", "3", 3, -1, "-1", "", "Dog", "1.0", "²", "9" * 5000])
def test_an_unknown_domain_is_answered_with_the_domains(domain):
    with pytest.raises(StyleError, match=r"there is no domain .*: the bundle has cat \(0\), dog \(1\), wild \(2\)"):
        domain_index(domain, DOMAINS)


def test_the_domain_may_be_left_out_where_there_is_one():
    assert domain_index(None, ("face",)) == 0


@pytest.mark.parametrize(("name", "domain"), [
    ("dog.jpg", "dog"), ("dog-rex.jpg", "dog"), ("dog_3.png", "dog"), ("dog3.png", "dog"), ("DOG 1.JPG", "dog"),
    ("1.png", "dog"), ("1-rex.jpg", "dog"), ("2_b.png", "wild"), ("0.png", "cat"), ("1rex.jpg", "dog"),
    ("dogma.jpg", None), ("rex-dog.jpg", None), ("001.jpg", None), ("3.jpg", None), ("12.jpg", None), (".png", None),
])  # fmt: skip
def test_a_file_name_begins_with_a_domains_name_or_number(name, domain):
    assert domain_in_name(Path("folder") / name, DOMAINS) == domain


def test_the_longest_name_wins_and_a_name_comes_before_a_number():
    assert domain_in_name(Path("big-dog-1.png"), ("big", "big-dog")) == "big-dog"
    assert domain_in_name(Path("0-a.png"), ("a", "0")) == "0"
    assert domain_in_name(Path("2020-a.png"), ("a", "20")) is None


@given(st.text(max_size=12), st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4, unique=True))
def test_any_file_name_is_of_a_known_domain_or_of_none(name, domains):
    assert domain_in_name(Path(name.replace("/", "") + ".png"), domains) in (None, *domains)


def test_attributes_are_not_translated_to_as_if_a_source_had_no_others():
    with pytest.raises(StyleError, match=r"the source's attributes are unknown: list with --has which of cat, dog"):
        requests_from(StyleOptions(domain="dog"), DOMAINS, labels=LabelMaker(names=DOMAINS, classes=1))


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ("dog,cat", ["dog", "cat"]),
        ("cat, wild", ["cat", "wild"]),
        ("2,0", ["wild", "cat"]),
        ("dog,1,dog", ["dog"]),
        ("dog,all", ["dog", "cat", "wild"]),
        ('"dog"', ["dog"]),
    ],
)
def test_several_domains_give_a_style_each_in_the_order_given(given, chosen):
    assert [request.domain for request in _requests(domain=given, seed=1)] == chosen
    assert [request.domain for request in _requests(domain=given, ref=Path("x.png"))] == chosen


@pytest.mark.parametrize("given", ["black, white,cat", '"black, white",cat', "cat,black, white"])
def test_a_domain_with_a_comma_in_its_name_is_one_of_several(given):
    domains = ("black, white", "cat", "black")
    assert {request.domain for request in _requests(domains, domain=given)} == {"black, white", "cat"}
    assert [request.domain for request in _requests(domains, domain="black, white")] == ["black, white"]


@pytest.mark.parametrize("given", ["dog,bird", "dog,7", ",", ""])
def test_an_unknown_one_of_several_domains_is_named_with_those_there_are(given):
    with pytest.raises(StyleError, match=r"no domain .*cat \(0\), dog \(1\), wild \(2\)"):
        _requests(domain=given)


def test_of_a_folder_of_references_those_of_the_domains_asked_for_are_taken(tmp_path):
    folder = _write_images(tmp_path / "refs", "cat-a.png", "dog-b.png", "wild-c.png", "d.png")
    lines = []
    requests = requests_from(StyleOptions(domain="cat,wild", ref=folder), DOMAINS, progress=lines.append)
    assert [(request.domain, request.reference.name) for request in requests] == [
        ("cat", "cat-a.png"), ("wild", "wild-c.png"),
    ]  # fmt: skip
    assert any("dog-b.png" in line and "other domains than cat, wild" in line for line in lines)
    assert any("d.png" in line for line in lines)
