"""Runs from the command line: each kind of data, exact resuming, and what a run leaves behind."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from PIL import Image
from same_bits import assert_same_bits

from starcast.cli import root
from starcast.options import from_json
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint
from starcast.train.families import read_recipe
from starcast.train.families.stargan_v1.options import StarGANv1Options

SMALL = [
    "--family", "stargan_v1", "--image-size", "16", "--generator-width", "2", "--discriminator-width", "2",
    "--residual-blocks", "1", "--discriminator-layers", "2", "--batch", "2", "--d-steps", "2", "--workers", "0",
    "--device", "cpu", "--sample-every", "0", "--snapshot-every", "0", "--save-every", "100", "--log-every", "1",
]  # fmt: skip
NAMES = "Blond_Hair,Black_Hair,Male"


def starcast(*arguments):
    return CliRunner().invoke(root, [str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture
def faces(tmp_path):
    """Images and their list as torchvision leaves them."""
    folder = tmp_path / "celeba/img_align_celeba"
    folder.mkdir(parents=True)
    lines = ["12", NAMES.replace(",", " ")]
    for number in range(12):
        Image.new("RGB", (18, 22), (20 * number, 50, 200 - 10 * number)).save(folder / f"{number:06d}.jpg")
        lines.append(f"{number:06d}.jpg " + " ".join(str(2 * (number >> bit & 1) - 1) for bit in range(3)))
    (tmp_path / "celeba/list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "celeba"


def flags_of(kind, images, faces):
    """DATA and the flags of each kind of data, and the names of the labels."""
    listed = tuple(NAMES.split(","))
    if kind == "folders":
        return [images], ("ink", "photo")
    if kind == "list":
        return [faces, "--attributes", NAMES], listed
    flags = ["--attributes", NAMES, "--list", faces / "list_attr_celeba.txt", "--list-images", faces]
    return [images, *flags], (*listed, "ink", "photo")


@pytest.mark.parametrize("kind", ["folders", "list", "both"])
def test_twenty_steps_equal_ten_and_ten_resumed_ones_bit_for_bit(kind, images, faces, tmp_path):
    flags, names = flags_of(kind, images, faces)
    for run, steps in (("whole", 20), ("parts", 10)):
        result = starcast("train", *flags, "-o", tmp_path / run, *SMALL, "--steps", steps)
        assert (result.exception, result.return_value) == (None, 0)
    resumed = starcast(
        "train", flags[0], "-o", tmp_path / "parts", "--family", "stargan_v1", "--resume", "--steps", 20
    )  # fmt: skip
    assert (resumed.exception, resumed.return_value) == (None, 0)
    whole, parts = (tmp_path / run / "checkpoints/step-000020.pt" for run in ("whole", "parts"))
    assert_same_bits(whole, parts)
    assert (tmp_path / "whole/losses.jsonl").read_bytes() == (tmp_path / "parts/losses.jsonl").read_bytes()
    assert read_checkpoint(whole).domain_names == names


def test_a_resumed_run_continues_the_decay_of_its_rates(images, tmp_path):
    decay = ["--decay-start", 2, "--decay-steps", 6]
    starcast("train", images, "-o", tmp_path / "whole", *SMALL, *decay, "--steps", 8)
    starcast("train", images, "-o", tmp_path / "parts", *SMALL, *decay, "--steps", 5)
    assert starcast(
        "train", images, "-o", tmp_path / "parts", "--family", "stargan_v1", "--resume", "--steps", 8
    ).exception is None  # fmt: skip
    assert_same_bits(*(tmp_path / run / "checkpoints/step-000008.pt" for run in ("whole", "parts")))
    lines = [json.loads(line) for line in (tmp_path / "parts/losses.jsonl").read_text().splitlines()]
    assert [line["rate"] for line in lines] == pytest.approx([1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_a_run_leaves_grids_curves_and_the_generator_itself(faces, tmp_path):
    run = tmp_path / "run"
    result = starcast(
        "train", faces, "-o", run, *SMALL, "--attributes", NAMES, "--epochs", 1, "--sample-every", 3
    )  # fmt: skip
    assert result.exception is None
    said = result.stderr
    assert "1 epochs of 11 images are 3 steps" in said
    assert "3 attributes of 11 images, 1 more held out: Blond_Hair (" in said
    with Image.open(run / "samples/step-000003-labels.jpg") as grid:
        assert grid.size == (4 * 18 + 2, 8 * 18 + 2)
    assert starcast("plot", run).exception is None
    assert (run / "losses.png").exists()
    assert starcast("inspect", run).exception is None
    checkpoint = read_checkpoint(run / "checkpoints/step-000003.pt")
    trained = checkpoint.networks["generator"]
    assert all((trained[name] == value).all() for name, value in checkpoint.averaged["generator"].items())
    assert averaged_networks(checkpoint).discriminator is None


def test_its_help_shows_its_options_only():
    text = starcast("train", "--family", "stargan_v1", "--help").output
    for flag in ("--lambda-gp", "--d-steps", "--attributes", "--list", "--decay-start", "--epochs"):
        assert flag in text
    for flag in ("--lambda-ds", "--style-dim", "--r1-every"):
        assert flag not in text


def test_its_options_come_back_from_a_dry_run(images, tmp_path):
    first = starcast("train", images, "-o", tmp_path / "run", "--family", "stargan_v1", "--config", "small",
                     "--seed", 5, "--dry-run")  # fmt: skip
    options = from_json(StarGANv1Options, json.loads(first.output), "the output")
    assert options == read_recipe("small", "stargan_v1", seed=5)
    (tmp_path / "options.json").write_text(first.output)
    again = starcast("train", images, "-o", tmp_path / "run", "--family", "stargan_v1", "--config",
                     tmp_path / "options.json", "--dry-run")  # fmt: skip
    assert again.output == first.output


def test_a_list_that_was_moved_is_named_when_the_run_is_resumed(faces, tmp_path):
    starcast("train", faces, "-o", tmp_path / "run", *SMALL, "--attributes", NAMES, "--steps", 1)
    (faces / "list_attr_celeba.txt").rename(tmp_path / "list.txt")
    resume = ["train", faces, "-o", tmp_path / "run", "--family", "stargan_v1", "--resume", "--steps", 2]
    assert "give one with --list" in str(starcast(*resume).exception)
    assert starcast(*resume, "--list", tmp_path / "list.txt").exception is None


def test_other_attributes_than_the_runs_are_refused(faces, tmp_path):
    starcast("train", faces, "-o", tmp_path / "run", *SMALL, "--attributes", NAMES, "--steps", 1)
    resume = ["train", faces, "-o", tmp_path / "run", "--family", "stargan_v1", "--resume", "--steps", 2]
    result = starcast(*resume, "--attributes", "Male,Black_Hair,Blond_Hair")
    assert "was trained on Blond_Hair, Black_Hair, Male" in str(result.exception)
