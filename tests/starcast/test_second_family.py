"""A family that only its own folder knows goes the whole way: train, resume, export, open, translate."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from same_bits import assert_same_bits
from tiny_family.model import open_tiny
from tiny_family.options import TinyOptions

from starcast.cli import root
from starcast.errors import CheckpointError, OptionError, StyleError
from starcast.export import families as export_families
from starcast.export.gate.reference import from_bytes, to_bytes
from starcast.options import from_json, to_flat
from starcast.runtime.bundle import open_bundle
from starcast.runtime.translator import Translator
from starcast.train import families
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint

FLAGS = ["--image-size", "32", "--batch", "2", "--workers", "0", "--device", "cpu", "--save-every", "2"]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "tiny", "tiny_family")
    monkeypatch.setitem(export_families.FAMILIES, "tiny", open_tiny)


@pytest.fixture
def images(tmp_path):
    """Two domains of four plain images, one red and one blue."""
    for domain, colour in {"blue": (20, 40, 200), "red": (200, 40, 20)}.items():
        (tmp_path / "images" / domain).mkdir(parents=True)
        for number in range(4):
            shade = tuple(value + 10 * number for value in colour)
            Image.new("RGB", (40, 36), shade).save(tmp_path / "images" / domain / f"{number}.png")
    return tmp_path / "images"


def starcast(*arguments):
    return CliRunner().invoke(root, [str(argument) for argument in arguments], standalone_mode=False)


def trained(images, run, *more):
    result = starcast("train", images, "-o", run, "--family", "tiny", *FLAGS, *more)
    assert (result.exception, result.return_value) == (None, 0)
    return run


def test_its_flags_are_those_of_train(tiny, images, tmp_path):
    text = starcast("train", "--family", "tiny", "--help").output
    assert "--keep-weight" in text
    assert "--lambda-ds" not in text
    dry = starcast("train", images, "-o", tmp_path / "run", "--family=tiny", "--hidden", 3, "--dry-run").output
    options = from_json(TinyOptions, json.loads(dry), "the output")
    assert (options.network.hidden, options.course.steps) == (3, 100_000)
    (tmp_path / "options.json").write_text(dry)
    again = starcast(
        "train", images, "-o", tmp_path / "run", "--config", tmp_path / "options.json", "--family", "tiny", "--dry-run"
    )
    assert again.output == dry


def test_an_unknown_family_is_refused_with_the_known_ones(images, tmp_path):
    result = starcast("train", images, "-o", tmp_path / "run", "--family", "biggan")
    assert isinstance(result.exception, OptionError)
    assert str(result.exception) == "--family is 'biggan': give one of stargan_v2, stargan_v1, stylegan2"


def test_a_file_of_options_does_not_choose_the_family(tiny, images, tmp_path):
    (tmp_path / "options.toml").write_text('family = "tiny"')
    result = starcast("train", images, "-o", tmp_path / "run", "--config", tmp_path / "options.toml")
    assert "write --family tiny on the command line" in str(result.exception)


def test_it_trains_and_resumes_bit_for_bit(tiny, images, tmp_path):
    whole = trained(images, tmp_path / "whole", "--steps", 4, "--sample-every", 4, "--log-every", 1)
    parts = trained(images, tmp_path / "parts", "--steps", 2, "--log-every", 1)
    resumed = starcast("train", images, "-o", parts, "--resume", "--family", "tiny", "--steps", 4)
    assert (resumed.exception, resumed.return_value) == (None, 0)
    assert_same_bits(*(run / "checkpoints/step-000004.pt" for run in (whole, parts)))
    assert (whole / "losses.jsonl").read_bytes() == (parts / "losses.jsonl").read_bytes()
    assert (whole / "samples/step-000004-labels.jpg").exists()
    checkpoint = read_checkpoint(whole / "checkpoints/step-000004.pt")
    assert (checkpoint.family, checkpoint.domain_names) == ("tiny", ("blue", "red"))
    assert to_flat(from_json(TinyOptions, checkpoint.options, "a checkpoint"))["hidden"] == 4


def test_its_checkpoint_starts_a_run_with_other_domains(tiny, images, tmp_path):
    parent = trained(images, tmp_path / "parent", "--steps", 2, "--hidden", 3)
    (images / "blue").rename(images / "green")
    run = trained(images, tmp_path / "run", "--from", parent, "--steps", 1, "--learning-rate", 0)
    before, after = (
        read_checkpoint(path / f"checkpoints/step-00000{step}.pt") for path, step in ((parent, 2), (run, 1))
    )
    assert (after.domain_names, after.config.hidden) == (("green", "red"), 3)
    old, new = before.networks["recolour"], after.networks["recolour"]
    assert torch.equal(new["first.weight"], old["first.weight"])
    assert torch.equal(new["label.weight"][:, 1], old["label.weight"][:, 1])
    assert not torch.equal(new["label.weight"][:, 0], old["label.weight"][:, 0])
    other = starcast("train", images, "-o", tmp_path / "other", "--from", parent)
    assert (
        str(other.exception) == f"{parent / 'checkpoints/step-000002.pt'} belongs to family 'tiny': add --family tiny"
    )


def test_a_run_is_resumed_as_its_own_family(tiny, images, tmp_path):
    run = trained(images, tmp_path / "run", "--steps", 2)
    resumed = starcast("train", images, "-o", run, "--resume", "--steps", 4)
    assert "belongs to family 'tiny': resume it with --family tiny" in str(resumed.exception)


def test_without_it_its_checkpoints_are_refused(images, tmp_path, monkeypatch):
    with monkeypatch.context() as known:
        known.setitem(families.FAMILIES, "tiny", "tiny_family")
        run = trained(images, tmp_path / "run", "--steps", 2)
    with pytest.raises(
        CheckpointError, match="belongs to family 'tiny', which this version does not know: update starcast"
    ):
        read_checkpoint(run / "checkpoints/step-000002.pt")


def test_it_is_exported_and_its_labels_steer_the_bundle(tiny, images, tmp_path):
    run = trained(images, tmp_path / "run", "--steps", 4, "--learning-rate", "0.05")
    checkpoint = run / "checkpoints/step-000004.pt"
    exported = starcast("export", checkpoint, "-o", tmp_path / "bundle")
    assert exported.exception is None
    bundle = open_bundle(tmp_path / "bundle")
    condition = bundle.manifest.condition
    assert (condition.labels.names, condition.latent, condition.reference) == (("blue", "red"), None, None)
    assert bundle.manifest.provenance.family == "tiny"

    source = np.random.RandomState(0).randint(0, 256, (1, 32, 48, 3)).astype(np.uint8)
    network = averaged_networks(read_checkpoint(checkpoint)).recolour
    with Translator(bundle, backend="onnxruntime") as translator:
        assert translator.style(labels={"red": 1}).tolist() == [0, 1]
        for labels in ({"red": 1}, {"blue": 0.5, "red": -1}):
            style = translator.style(labels=labels)
            expected = to_bytes(network(from_bytes(torch.from_numpy(source)), torch.from_numpy(style[None])))
            difference = translator(source, style).astype(int) - expected.numpy().astype(int)
            assert np.abs(difference).max() <= 1
        with pytest.raises(StyleError, match="makes no styles from seeds: give labels"):
            translator.style(domain="red", seed=7)


def test_its_bundle_translates_from_the_command_line(tiny, images, tmp_path):
    run = trained(images, tmp_path / "run", "--steps", 2)
    assert starcast("export", run / "checkpoints/step-000002.pt", "-o", tmp_path / "bundle").exception is None
    result = starcast(
        "translate", tmp_path / "bundle", images / "blue", "-o", tmp_path / "out", "--domain", "red",
        "--backend", "onnxruntime",
    )  # fmt: skip
    assert result.exception is None
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [f"{number}.png" for number in range(4)]
    assert "starcast translate bundle photo.jpg --domain red -o out/" in (tmp_path / "bundle/README.md").read_text()


def test_its_checkpoints_and_bundles_are_inspected(tiny, images, tmp_path):
    run = trained(images, tmp_path / "run", "--steps", 2)
    checkpoint = run / "checkpoints/step-000002.pt"
    assert starcast("export", checkpoint, "-o", tmp_path / "bundle").exception is None
    for place in (run, checkpoint, tmp_path / "bundle"):
        result = starcast("inspect", place)
        assert result.exception is None
        assert "tiny" in result.output
        assert "0 blue, 1 red" in result.output
