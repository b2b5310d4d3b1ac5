"""What a source has is read by the bundle's classifier, unless it is given."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from starcast.errors import BundleError, StyleError
from starcast.images.read import read_image
from starcast.images.write import write_image
from starcast.runtime.cli import translate
from starcast.runtime.manifest import MANIFEST, Classifier, LabelMaker, Manifest
from starcast.runtime.manifest_json import encode
from starcast.runtime.options import StyleOptions
from starcast.runtime.record import KEPT_SOURCES, read_runs, write_record
from starcast.runtime.style_requests import requests_from
from starcast.runtime.translator import Translator

# a mean above 128 in red, green or blue is Black_Hair, Blond_Hair or Brown_Hair
COLOURS = {"red": (200, 0, 0), "green": (0, 200, 0), "none": (0, 0, 0), "two": (200, 200, 0)}
OWN = ["--backend", "onnxruntime"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for name, colour in COLOURS.items():
        write_image(folder / f"{name}.png", np.full((40, 24, 3), colour, np.uint8))
    return folder


def run(*words: object) -> str:
    result = CliRunner().invoke(translate, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_each_source_is_read_and_changed_on_its_own(label_bundle, photos, tiny_model, tmp_path):
    output = run(
        label_bundle(reads=True), photos, *OWN, "-o", tmp_path / "out", "--set", "Male", "--unset", "Blond_Hair"
    )
    own = {"red": [1, 0], "green": [0, 0], "none": [0, 0], "two": [1, 0]}  # after --unset Blond_Hair
    for name, hair in own.items():
        vector = np.array([*hair, 0, 1, 0, 0, 0, 0], np.float32)
        source = np.full((1, 32, 32, 3), COLOURS[name], np.uint8)
        truth = tiny_model.translation(source, vector)[0]
        assert (read_image(tmp_path / "out" / f"{name}.png") == truth).all(), name
    for name, has in {"red": "Black_Hair", "green": "Blond_Hair", "two": "Black_Hair, Blond_Hair",
                      "none": "none of the bundle's attributes"}.items():  # fmt: skip
        assert f"{photos / name}.png has {has}\n" in output


def test_the_record_says_what_was_read_also_after_a_restart(label_bundle, photos, tmp_path):
    words = [label_bundle(reads=True), photos, *OWN, "-o", tmp_path / "out", "--flip", "Young"]
    run(*words)
    (tmp_path / "out/red.png").unlink()
    output = run(*words)
    assert "1 translated, 3 there already" in output
    assert "red.png has Black_Hair" in output
    assert "green.png has" not in output
    [record] = json.loads((tmp_path / "out/starcast.json").read_text())["runs"]
    read = {Path(name).stem: has for name, has in record["has"].items()}
    assert read == {"red": ["Black_Hair"], "green": ["Blond_Hair"], "none": [], "two": ["Black_Hair", "Blond_Hair"]}
    assert record["styles"] == [{"label": "flip-Young", "change": {"flip": ["Young"]}}]


def test_what_is_given_wins_over_what_would_be_read(label_bundle, photos, tmp_path):
    bundle = label_bundle(reads=True)
    output = run(bundle, photos / "red.png", *OWN, "-o", tmp_path / "a.png", "--set", "Male", "--has", "Blond_Hair")
    assert " has " not in output
    run(label_bundle(), photos / "red.png", *OWN, "-o", tmp_path / "b.png", "--labels", "0,1,0,1,0,0,0,0")
    assert (read_image(tmp_path / "a.png") == read_image(tmp_path / "b.png")).all()


def test_the_grid_of_each_source_starts_from_its_own_labels(label_bundle, photos, tiny_model, tmp_path):
    words = ["--domain", "all", "--fit", "native"]  # the classifier takes only the trained size
    run(label_bundle(attributes=4, classes=2, reads=True), photos / "red.png", *OWN, "-o", tmp_path / "out", *words)
    source = read_image(photos / "red.png")[None]
    for name, vector in {"Blond_Hair": [0, 1, 0, 0, 0, 0, 1, 0], "Male": [1, 0, 0, 1, 0, 0, 1, 0],
                         "happy": [0, 0, 0, 0, 0, 1, 0, 1]}.items():  # fmt: skip
        truth = tiny_model.translation(source, np.array(vector))[0]
        assert (read_image(tmp_path / "out" / name / "red.png") == truth).all(), name


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_labels_are_read_from_python(label_bundle, photos, backend):
    with Translator(label_bundle(reads=True), backend=backend) as translator:
        image = read_image(photos / "two.png")
        assert (
            translator.read_labels(image) == translator.read_labels(photos / "two.png") == ("Black_Hair", "Blond_Hair")
        )
        assert translator.labels(set=["Male"], image=image).tolist() == [1, 1, 0, 1, 0, 0, 0, 0]
        assert translator.labels(set=["Brown_Hair"], image=image).tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
        assert translator.labels(set=["Male"], has=[], image=image).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
        with pytest.raises(StyleError, match=r"list them in `has` .*, or pass the source as `image`"):
            translator.labels(set=["Male"])


def test_a_bundle_without_a_classifier_says_so(label_bundle, photos):
    sentence = "cannot read an image's attributes: list them in `has`"
    with Translator(label_bundle(), backend="onnxruntime") as translator, pytest.raises(StyleError, match=sentence):
        translator.labels(set=["Male"], image=photos / "red.png")
    maker = LabelMaker(names=("Male", "Young"))
    with pytest.raises(StyleError, match="the source's attributes are unknown: list with --has"):
        requests_from(StyleOptions(set=("Male",)), maker.names, labels=maker)


def test_a_class_is_set_without_reading_the_image(label_bundle, photos):
    with Translator(label_bundle(attributes=0, classes=8), backend="onnxruntime") as translator:
        style = translator.labels(set=["happy"], image=photos / "red.png")
        np.testing.assert_array_equal(style, [0, 1, 0, 0, 0, 0, 0, 0])


def test_a_name_in_the_place_of_a_list_is_refused(label_bundle):
    with Translator(label_bundle(), backend="onnxruntime") as translator:
        for argument in ("set", "unset", "flip", "has"):
            with pytest.raises(StyleError, match=f"{argument} is 'Male': give a list of labels, such as"):
                translator.labels(**{"has": [], argument: "Male"})


def test_names_are_checked_before_anything_is_read():
    maker = LabelMaker(names=("Male", "Young"), classifier=Classifier(graph="c.onnx", height=32, width=32))
    with pytest.raises(StyleError, match="there is no label 'Beard': the bundle has Male, Young"):
        requests_from(StyleOptions(set=("Beard",)), maker.names, labels=maker)
    assert requests_from(StyleOptions(set=("Male",)), maker.names, labels=maker)[0].depends_on_source


def test_a_classifier_that_does_not_fit_the_manifest_is_refused(label_bundle, photos, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(label_bundle(reads=True), bundle)
    manifest = msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest)
    names = manifest.condition.labels.names[:6]
    labels = msgspec.structs.replace(manifest.condition.labels, names=names, classes=2)
    condition = msgspec.structs.replace(manifest.condition, labels=labels)
    (bundle / MANIFEST).write_bytes(encode(msgspec.structs.replace(manifest, condition=condition, domains=names)))
    sentence = r"logits of the shape \[1, 8\] instead of \[1, 6\]: export the bundle again"
    with pytest.raises(BundleError, match=sentence), Translator(bundle, backend="onnxruntime") as translator:
        translator.read_labels(photos / "red.png")


def test_an_unknown_field_of_a_classifier_is_refused(label_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(label_bundle(reads=True), bundle)
    raw = json.loads((bundle / MANIFEST).read_text())
    raw["condition"]["labels"]["classifier"]["threshold"] = 0.5
    (bundle / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(BundleError, match="'threshold' in its condition.labels.classifier, which this starcast"):
        Translator(bundle)


def test_a_record_holds_the_labels_of_a_thousand_sources_and_says_how_many_more(tiny_bundle, tmp_path):
    from starcast.runtime.bundle import open_bundle
    from starcast.runtime.options import TranslateOptions

    def write(names):
        has = {str(name): ["Male"] for name in names}
        write_record(
            tmp_path / "r.json", open_bundle(tiny_bundle), TranslateOptions(), [], engine={}, sources=[], has=has
        )

    write(range(600))
    write(range(500, 1100))
    [run] = read_runs(tmp_path / "r.json")
    assert (len(run["has"]), run["has_of_more"]) == (KEPT_SOURCES, 100)
    assert "1099" in run["has"]


def test_what_comes_through_a_pipe_is_recorded_as_such(label_bundle, photos, tmp_path):
    words = [str(label_bundle(reads=True)), "-", *OWN, "-o", str(tmp_path / "out.png"), "--set", "Male"]
    command = [sys.executable, "-m", "starcast", "translate", *words]
    done = subprocess.run(command, input=(photos / "red.png").read_bytes(), capture_output=True, check=True)
    assert b"standard input has Black_Hair" in done.stderr
    [record] = read_runs(tmp_path / "out.png.json")
    assert record["has"] == {"-": ["Black_Hair"]}
