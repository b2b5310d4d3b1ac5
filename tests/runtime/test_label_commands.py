"""`translate`, `video` and `morph` with bundles that are steered by labels: what is set, and what the source has."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from starcast.attributes import HAIR_COLOURS
from starcast.click_options import options_from
from starcast.config_file import config_option
from starcast.errors import OptionError, StyleError
from starcast.images.read import read_image
from starcast.images.write import write_image
from starcast.runtime.cli import translate
from starcast.runtime.labels import example_flags, target_labels, whole_vector
from starcast.runtime.manifest import LabelMaker
from starcast.runtime.options import StyleOptions
from starcast.runtime.style_requests import requests_from
from starcast.runtime.video.morph import requests_for
from starcast.runtime.video.options import MorphOptions

NAMES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
ATTRIBUTES = LabelMaker(names=NAMES)
CLASSES = LabelMaker(names=("angry", "happy"), classes=2)
BOTH = LabelMaker(names=("Black_Hair", "Blond_Hair", "Male", "angry", "happy"), classes=2)
OWN = ["--backend", "onnxruntime"]


def vectors(maker: LabelMaker, **options) -> list[list[float]]:
    return [list(request.vector) for request in requests_from(StyleOptions(**options), maker.names, labels=maker)]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_image(path, np.full((32, 32, 3), 128, np.uint8))
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(translate, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("options", "vector"), [
    ({"set": ("Blond_Hair",), "has": ("Black_Hair", "Young")}, [0, 1, 0, 0, 1]),
    ({"set": ("Blond_Hair",), "unset": ("Young",), "flip": ("Male",), "has": ("Black_Hair", "Young")}, [0, 1, 0, 1, 0]),
    ({"flip": ("Male", "Young"), "has": ("Male",)}, [0, 0, 0, 0, 1]),
    ({"set": ("Male", "Male"), "has": ()}, [0, 0, 0, 1, 0]),
    ({"set": ("Male",), "has": ("none",)}, [0, 0, 0, 1, 0]),
    ({"labels": (1.0, 0.0, 0.5, 0.0, 1.0)}, [1, 0, 0.5, 0, 1]),
])  # fmt: skip
def test_a_request_is_the_targets_vector(options, vector):
    assert vectors(ATTRIBUTES, **options) == [vector]


def test_all_domains_are_the_originals_grid():
    # each attribute in turn: a hair colour replaces the others, anything else is flipped
    has = {"has": ("Black_Hair", "Young")}
    assert vectors(ATTRIBUTES, domain="all", **has) == [
        [1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 1, 0, 1], [1, 0, 0, 1, 1], [1, 0, 0, 0, 0],
    ]  # fmt: skip
    assert vectors(ATTRIBUTES, domain="Male", **has) == vectors(ATTRIBUTES, domain="3", **has) == [[1, 0, 0, 1, 1]]


def test_hair_colours_that_the_model_lacks_exclude_nothing():
    maker = LabelMaker(names=("Male", "Gray_Hair"))
    assert vectors(maker, set=("Gray_Hair",), has=("Male",)) == [[1, 1]]
    with pytest.raises(StyleError, match="there is no label 'Black_Hair': the bundle has Male, Gray_Hair"):
        vectors(maker, set=("Black_Hair",), has=())


def test_the_labels_of_two_sets_end_in_two_bits():
    assert vectors(BOTH, set=("Blond_Hair",), has=("Black_Hair",)) == [[0, 1, 0, 0, 0, 1, 0]]
    assert vectors(BOTH, labels=(0.0, 0.0, 0.0, 0.0, 1.0)) == [[0, 0, 0, 0, 1, 0, 1]]
    assert vectors(BOTH, labels=(0.0,) * 5) == [[0, 0, 0, 0, 0, 1, 0]]
    assert vectors(BOTH, labels=(0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)) == [[0, 1, 0, 0, 0, 1, 0]]
    requests = requests_from(StyleOptions(domain="all", has=("Black_Hair",)), BOTH.names, labels=BOTH)
    assert [request.label for request in requests] == ["Black_Hair", "Blond_Hair", "Male", "angry", "happy"]


def test_a_class_needs_no_source():
    for options in ({"domain": "happy"}, {"set": ("happy",)}):
        for maker in (CLASSES, BOTH):
            [request] = requests_from(StyleOptions(**options), maker.names, labels=maker)
            assert request.arguments["labels"] == {"happy": 1.0}


@given(st.data())
def test_a_full_vector_equals_a_change_of_the_source(data):
    names = data.draw(st.permutations([*HAIR_COLOURS, "Male", "Young", "Smiling"]))[: data.draw(st.integers(1, 7))]
    maker = LabelMaker(names=tuple(names))
    has, on = data.draw(st.sets(st.sampled_from(names))), data.draw(st.sampled_from(names))
    changed = target_labels(maker, on=[on], has=has)
    assert whole_vector(maker, changed.tolist()).tolist() == changed.tolist()
    assert changed[names.index(on)] == 1
    if on in HAIR_COLOURS:
        assert sum(changed[number] for number, name in enumerate(names) if name in HAIR_COLOURS) == 1
    others = [name for name in names if name != on and not (on in HAIR_COLOURS and name in HAIR_COLOURS)]
    assert all(changed[names.index(name)] == (name in has) for name in others)


@pytest.mark.parametrize(("maker", "options", "sentence"), [
    (ATTRIBUTES, {}, "say what to change: give --set, --unset or --flip, or all labels with --labels 1,0,…, or "
     "--domain all .* labels are Black_Hair, Blond_Hair, Brown_Hair, Male, Young"),
    (ATTRIBUTES, {"has": ("Male",)}, "say what to change"),
    (ATTRIBUTES, {"set": ("Male",)}, r"the source's attributes are unknown: list with --has .*\(--has none if none\)"),
    (ATTRIBUTES, {"domain": "all"}, "the source's attributes are unknown"),
    (ATTRIBUTES, {"set": ("Beard",), "has": ()}, "there is no label 'Beard': the bundle has Black_Hair"),
    (ATTRIBUTES, {"set": ("Male",), "has": ("Beard",)}, "there is no label 'Beard'"),
    (ATTRIBUTES, {"set": ("Black_Hair", "Brown_Hair"), "has": ()}, "exclude each other: set or flip one of them"),
    (ATTRIBUTES, {"set": ("Male",), "flip": ("Male",), "has": ()}, "named more than once in set, unset and flip"),
    (ATTRIBUTES, {"labels": (1.0, 0.0)}, "2 labels are given, but the bundle has 5: give a number for each of Black_"),
    (ATTRIBUTES, {"seed": 3}, "steered by labels alone, so it takes no --seed: give --set, --unset or --flip"),
    (ATTRIBUTES, {"seed": 0, "set": ("Male",), "has": ()}, "so it takes no --seed"),
    (ATTRIBUTES, {"ref": Path("x.png")}, "so it takes no --ref"),
    (ATTRIBUTES, {"psi": 0.5, "set": ("Male",), "has": ()}, "so it takes no --psi"),
    (CLASSES, {}, r"say which domain to translate to with --domain: angry \(0\), happy \(1\), or all"),
    (CLASSES, {"set": ("angry", "happy")}, "angry is a class, and an image has exactly one: set it alone"),
    (CLASSES, {"domain": "angry", "has": ()}, "--has lists attributes, and the bundle's labels are classes"),
    (CLASSES, {"domain": "angry", "seed": 7}, "so it takes no --seed: give --domain or --labels"),
    (BOTH, {"labels": (1.0, 0.0, 0.0, 1.0, 0.0)}, "give labels of one kind"),
    (BOTH, {"set": ("Male",), "has": ("angry",)}, "angry is a class, not an attribute"),
])  # fmt: skip
def test_what_does_not_fit_the_bundle_is_one_sentence(maker, options, sentence):
    with pytest.raises(StyleError, match=sentence):
        requests_from(StyleOptions(**options), maker.names, labels=maker)


def test_a_label_called_none_or_all_is_that_label_and_hints_give_what_still_works():
    maker = LabelMaker(names=("none", "all", "Male"))
    assert vectors(maker, set=("Male",), has=("none",)) == [[1, 0, 1]]
    assert vectors(maker, set=("Male",), has=()) == [[0, 0, 1]]
    assert vectors(maker, domain="all", has=()) == [[0, 1, 0]]
    assert example_flags(maker, "Male") == ("--set", "Male", "--has", "")
    with pytest.raises(StyleError, match=r'\(--has "" if none\)'):
        requests_from(StyleOptions(set=("Male",)), maker.names, labels=maker)
    with pytest.raises(StyleError, match="or all labels with --labels 1,0,…; the bundle's labels are none, all, Male"):
        requests_from(StyleOptions(), maker.names, labels=maker)


@pytest.mark.parametrize("options", [
    {"set": ("Male",)}, {"unset": ("Male",)}, {"flip": ("Male",)}, {"has": ()}, {"labels": (1.0,)},
])  # fmt: skip
def test_label_flags_are_refused_by_bundles_with_styles(options):
    [flag] = options
    with pytest.raises(StyleError, match=f"--{flag} is for bundles that are steered by labels.*give --domain, with a"):
        requests_from(StyleOptions(**options), ("cat", "dog"))
    with pytest.raises(StyleError, match=f"--{flag} is for bundles"):
        requests_for(MorphOptions(seeds=("1",), **options), ("cat", "dog"))


@pytest.mark.parametrize(("options", "sentence"), [
    ({"labels": (1.0,), "set": ("Male",)}, "--labels already gives every label of the translation: leave out --set"),
    ({"labels": (1.0,), "has": ()}, "leave out --has"),
    ({"labels": (float("nan"),)}, "--labels needs a finite number"),
    ({"labels": ()}, "--labels needs a finite number"),
    ({"domain": "all", "flip": ("Male",)}, "--domain and --flip exclude each other"),
    ({"domain": "all", "labels": (1.0,)}, "--domain and --labels exclude each other"),
])  # fmt: skip
def test_flags_that_contradict_each_other_are_one_sentence(options, sentence):
    for options_class in (StyleOptions, MorphOptions):
        with pytest.raises(OptionError, match=sentence):
            options_class(**options)


def test_lists_are_repeated_or_joined_by_commas(label_bundle, photo, tmp_path):
    bundle = label_bundle()
    words = [bundle, photo, *OWN]
    run(*words, "-o", tmp_path / "a.png", "--set", "Blond_Hair", "--set", "Male,Young", "--has", "")
    run(*words, "-o", tmp_path / "b.png", "--labels", "0,1,0,1,1,0,0,0")
    run(*words, "-o", tmp_path / "c.png", "--set", "Blond_Hair,Male", "--set", "Young", "--has", "none")
    pixels = [(tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png")]
    assert pixels[0] == pixels[1] == pixels[2]  # the marks are the same, too


def test_each_translation_is_the_generators_for_its_labels(label_bundle, tiny_model, photo, tmp_path):
    run(label_bundle(), photo, *OWN, "-o", tmp_path / "out", "--domain", "all", "--has", "Brown_Hair,Bald")
    rows = json.loads((tmp_path / "out/starcast.json").read_text())["runs"][0]["styles"]
    source = read_image(photo)[None]
    names = [row["label"] for row in rows]
    assert names == ["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young", "Smiling", "Eyeglasses", "Bald"]
    truth = {"Blond_Hair": [0, 1, 0, 0, 0, 0, 0, 1], "Male": [0, 0, 1, 1, 0, 0, 0, 1], "Bald": [0, 0, 1] + 5 * [0]}
    for row in rows:
        assert truth.get(row["label"], row["labels"]) == row["labels"]
        written = read_image(tmp_path / "out" / row["label"] / "photo.png")
        assert (written == tiny_model.translation(source, np.array(row["labels"]))[0]).all()


def test_a_restart_knows_which_labels_made_an_output(label_bundle, photo, tmp_path):
    words = [label_bundle(), photo, *OWN, "-o", tmp_path / "out"]
    assert "1 translated" in run(*words, "--set", "Male", "--has", "Young")
    assert "1 there already" in run(*words, "--set", "Male", "--has", "Young")
    assert "1 there already" in run(*words, "--labels", "0,0,0,1,1,0,0,0")  # the same translation in other words
    before = (tmp_path / "out/photo.png").read_bytes()
    for other in (["--set", "Male", "--has", "none"], ["--unset", "Male", "--has", "Young"]):
        with pytest.raises(OptionError, match="made with a different source, bundle"):
            run(*words, *other)
    assert (tmp_path / "out/photo.png").read_bytes() == before
    [recorded] = json.loads((tmp_path / "out/starcast.json").read_text())["runs"]
    assert recorded["styles"] == [{"label": "Male", "change": {"set": ["Male"]}, "labels": [0, 0, 0, 1, 1, 0, 0, 0]}]
    assert recorded["options"]["has"] == ["Young"]


def test_labels_come_from_a_config_file_as_from_the_command_line(tmp_path):
    seen = []

    @click.command()
    @config_option()
    @options_from(StyleOptions)
    def command(**values):
        seen.append(StyleOptions(**values))

    (tmp_path / "a.toml").write_text('set = "Male,Young"\nhas = ["a, b"]\n')
    for words in (["--config", str(tmp_path / "a.toml")], ["--set", "Male", "--set", "Young", "--has", '"a, b"']):
        assert CliRunner().invoke(command, words, catch_exceptions=False).exit_code == 0
    assert [(options.set, options.has, options.labels) for options in seen] == 2 * [
        (("Male", "Young"), ("a, b",), None)
    ]
