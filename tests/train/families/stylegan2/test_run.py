"""Runs of StyleGAN2 from the command line: train, resume, start from a checkpoint, and what they write."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from same_bits import assert_same_bits

from starcast.cli import root
from starcast.errors import OptionError
from starcast.options import from_json, replace_options
from starcast.train.checkpoint.file import averaged_networks, read_checkpoint
from starcast.train.families import options_class, read_recipe
from starcast.train.families.stylegan2.options import StyleGAN2Options
from starcast.train.families.stylegan2.samples import grids, sample_inputs

FLAGS = (
    "--family", "stylegan2", "--image-size", 8, "--latent-dim", 4, "--mapping-depth", 2, "--capacity", 2,
    "--max-channels", 8, "--batch", 4, "--workers", 0, "--device", "cpu", "--penalty-every", 4, "--path-every", 3,
    "--log-every", 1, "--sample-every", 0, "--snapshot-every", 0,
)  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draws = np.random.RandomState(0)
    (tmp_path / "images").mkdir()
    for number in range(6):
        pixels = draws.randint(0, 256, (10 + number, 12, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{number}.png")
    return tmp_path / "images"


def starcast(*arguments: Any) -> Result:
    return CliRunner().invoke(root, [str(argument) for argument in arguments], standalone_mode=False)


def trained(images: Path, run: Path, *more: Any) -> Path:
    result = starcast("train", images, "-o", run, *FLAGS, *more)
    assert (result.exception, result.return_value) == (None, 0)
    return run


@pytest.mark.parametrize(
    "more",
    [(), ("--loss", "wgan", "--d-steps", 2), ("--channels", 4, "--resampling", "bilinear", "--accumulate", 2)],
    ids=["vanilla", "wgan", "bilinear"],
)
def test_twenty_steps_are_ten_and_ten_resumed(images: Path, tmp_path: Path, more: tuple[Any, ...]) -> None:
    whole = trained(images, tmp_path / "whole", "--steps", 20, *more)
    parts = trained(images, tmp_path / "parts", "--steps", 10, *more)
    resumed = starcast("train", images, "-o", parts, "--resume", "--family", "stylegan2", "--steps", 20)
    assert (resumed.exception, resumed.return_value) == (None, 0)
    assert_same_bits(*(run / "checkpoints/step-000020.pt" for run in (whole, parts)))
    assert (whole / "losses.jsonl").read_bytes() == (parts / "losses.jsonl").read_bytes()


def test_workers_change_nothing(images: Path, tmp_path: Path) -> None:
    here = trained(images, tmp_path / "here", "--steps", 3)
    elsewhere = trained(images, tmp_path / "elsewhere", "--steps", 3, "--workers", 2)
    assert (here / "losses.jsonl").read_bytes() == (elsewhere / "losses.jsonl").read_bytes()


def test_a_run_writes_grids_losses_and_a_checkpoint_that_loads(images: Path, tmp_path: Path) -> None:
    run = trained(
        images, tmp_path / "run", "--steps", 4, "--sample-every", 2, "--sample-psi", "1,0.5",
        "--sample-mixing", "0,0.9", "--sample-images", 6, "--sample-rows", 2,
    )  # fmt: skip
    names = {path.name for path in (run / "samples").iterdir()}
    cases = itertools.product(("average", "current"), ("1", "0.5"), ("0", "0.9"))
    kinds = [f"{which}-psi{psi}-mixing{probability}" for which, psi, probability in cases]
    assert names == {f"step-{step:06d}-{kind}.jpg" for step in (2, 4) for kind in kinds}
    with Image.open(run / "samples/step-000004-average-psi1-mixing0.jpg") as grid:
        assert grid.size == (2 + 3 * 10, 2 + 2 * 10)
    checkpoint = read_checkpoint(run / "checkpoints/step-000004.pt")
    assert (checkpoint.family, checkpoint.step, checkpoint.config.image_size) == ("stylegan2", 4, 8)
    networks = averaged_networks(checkpoint)
    assert networks.generator(torch.zeros(1, 4, 4)).shape == (1, 3, 8, 8)
    plotted = starcast("plot", run)
    assert plotted.exception is None
    assert (run / "losses.png").stat().st_size > 0
    inspected = starcast("inspect", run)
    assert inspected.exception is None
    assert f"Next: starcast export {run / 'checkpoints/step-000004.pt'} -o BUNDLE" in inspected.output


def test_images_and_epochs_stand_for_steps(images: Path, tmp_path: Path) -> None:
    run = trained(images, tmp_path / "run", "--images", 10)  # 2.5 batches of 4
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000003.pt"]
    run = trained(images, tmp_path / "twice", "--images", 20, "--d-steps", 2)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000003.pt"]
    both = starcast("train", images, "-o", tmp_path / "both", *FLAGS, "--images", 10, "--epochs", 2)
    assert isinstance(both.exception, OptionError)
    assert "--epochs and --images both say how long the run lasts" in str(both.exception)


def test_help_shows_its_options_only() -> None:
    text = starcast("train", "--family", "stylegan2", "--help").output
    assert "Train StyleGAN2 on a folder of images." in text
    for flag in ("--loss", "--path-every", "--mapping-rate", "--sample-psi", "--channels", "--images"):
        assert f"{flag} " in text
    for flag in ("--domains", "--crop-probability", "--adain", "--lambda-ds", "--style-dim"):
        assert flag not in text
    assert "one subfolder per domain" in starcast("train", "--help").output


def test_a_dry_run_prints_what_config_reads(images: Path, tmp_path: Path) -> None:
    more = ("--widths", "8,4", "--fir-filter", "1,2,1", "--sample-psi", "0.5", "--no-flip")
    dry = starcast("train", images, "-o", tmp_path / "run", *FLAGS, *more, "--dry-run").output
    options = from_json(StyleGAN2Options, json.loads(dry), "the output")
    assert (options.network.widths, options.network.fir_filter) == ((8, 4), (1.0, 2.0, 1.0))
    assert (options.output.sample_psi, options.data.flip) == ((0.5,), False)
    (tmp_path / "options.json").write_text(dry)
    again = starcast(
        "train", images, "-o", tmp_path / "run", "--family", "stylegan2", "--config", tmp_path / "options.json",
        "--dry-run",
    )  # fmt: skip
    assert again.output == dry


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--widths", "8,x"), "8,x is not a list of whole numbers: separate them by commas"),
        (("--sample-psi", "1,high"), "1,high is not a list of numbers"),
        (("--sample-mixing", "2"), "--sample-mixing is 2: give probabilities, from 0 to 1"),
        (("--sample-psi", "3"), "--sample-psi is 3: give numbers from 0 to 2"),
    ],
)
def test_lists_that_are_none_are_refused(images: Path, tmp_path: Path, more: tuple[str, str], sentence: str) -> None:
    result = starcast("train", images, "-o", tmp_path / "run", *FLAGS, *more)
    assert sentence in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_domains_is_checked_as_it_is_trained_on(images: Path) -> None:
    checked = starcast("dataset", "check", images, "--family", "stylegan2", "--image-size", 32)
    assert (checked.exception, checked.return_value) == (None, 0)
    assert ["images", "6"] in [line.split()[:2] for line in checked.output.splitlines()]
    for path in images.iterdir():
        path.write_bytes(b"no image")
    assert starcast("dataset", "check", images, "--family", "stylegan2").return_value == 1
    named = starcast("dataset", "check", images, "--family", "stylegan2", "--domains", "a")
    assert isinstance(named.exception, OptionError)
    assert str(named.exception) == "the family stylegan2 has no domains: leave --domains out"
    by_default = starcast("dataset", "check", images)
    assert "has no subfolder" in by_default.output


@pytest.mark.parametrize("place", [".", "run", "a/b/run"])
def test_a_run_among_its_images_is_refused(images: Path, place: str) -> None:
    result = starcast("train", images, "-o", images / place, *FLAGS, "--steps", 1)
    assert isinstance(result.exception, OptionError)
    assert "where its sample grids would be read as images: choose another -o" in str(result.exception)


def test_recipes_are_options_of_this_family() -> None:
    for recipe in options_class("stylegan2").recipes.glob("*.toml"):
        assert read_recipe(recipe.stem, "stylegan2").family == "stylegan2"


def test_a_run_starts_from_a_checkpoint_of_ours(images: Path, tmp_path: Path) -> None:
    first = trained(images, tmp_path / "first", "--steps", 4)
    second = tmp_path / "second"
    result = starcast(
        "train", images, "-o", second, "--family", "stylegan2", "--from", first, "--steps", 1, "--learning-rate", 0,
        "--average-decay", 1, "--batch", 4, "--workers", 0, "--device", "cpu",
    )  # fmt: skip
    assert result.exception is None
    start, end = (
        read_checkpoint(path) for path in (first / "checkpoints/step-000004.pt", second / "checkpoints/step-000001.pt")
    )
    assert start.networks is not None
    assert end.networks is not None
    for key in ("start", "first.conv.weight"):
        assert torch.equal(end.networks["generator"][key], start.networks["generator"][key])
        assert torch.equal(end.averaged["generator"][key], start.averaged["generator"][key])


def test_grids_of_strength_zero_show_the_mean_style(images: Path, tmp_path: Path) -> None:
    """psi 0 gives one style, and the stored noise is the same for all: every image is equal."""
    for mean_style in ("average", "samples"):
        run = trained(images, tmp_path / mean_style, "--steps", 2, "--mean-style", mean_style, "--mean-samples", 50)
        checkpoint = read_checkpoint(run / "checkpoints/step-000002.pt")
        networks = averaged_networks(checkpoint)
        options = from_json(StyleGAN2Options, checkpoint.options or {}, "the checkpoint")
        options = replace_options(options, sample_psi=(0.0,), sample_images=4, sample_rows=2)
        inputs: Any = sample_inputs(None, options)  # type: ignore[arg-type]
        grid = grids(networks, networks, inputs)["average-psi0"]
        corners = itertools.product((2, 12), (2, 12))  # 8 px and a border of 2
        tiles = [grid[:, top : top + 8, left : left + 8] for top, left in corners]
        assert all(torch.equal(tile, tiles[0]) for tile in tiles)
