from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from starcast.benchmarks.studies import learning, learning_judges
from starcast.errors import OptionError
from starcast.options import from_flat
from starcast.train.creatures.options import CreatureOptions
from starcast.train.families import options_class

TINY: dict[str, dict[str, Any]] = {
    "stargan_v1": {
        "generator_width": 2, "discriminator_width": 2, "residual_blocks": 1, "discriminator_layers": 2, "d_steps": 1,
    },
    "stargan_v2": {},
    "stylegan2": {"latent_dim": 4, "mapping_depth": 1, "capacity": 1, "max_channels": 4},
}  # fmt: skip
DRAWN = learning.LearningOptions(creatures=CreatureOptions(train_images=4, val_images=6, video_seconds=1))


@pytest.fixture(scope="module")
def creatures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learning.draw_creatures(tmp_path_factory.mktemp("creatures") / "data", 32, DRAWN)


@pytest.fixture
def folder(tmp_path: Path, creatures: Path) -> Path:
    """A study's folder in which the creatures are drawn."""
    shutil.copytree(creatures, tmp_path / "folder/data")
    return tmp_path / "folder"


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The smallest networks, rounds and judges."""

    def options(family: str, wanted: learning.LearningOptions) -> Any:
        small = {"image_size": 32, "batch_size": 2, "steps": wanted.steps or 2, "device": "cpu", "workers": 0}
        return from_flat(options_class(family), small | TINY[family])

    monkeypatch.setattr(learning, "training_options", options)
    monkeypatch.setattr(learning, "PERIOD", 2)
    monkeypatch.setattr("starcast.benchmarks.quality.classifier.COLOUR_STEPS", 2)
    monkeypatch.setattr("starcast.benchmarks.quality.classifier.PATTERN_STEPS", 2)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def study(family: str, *more: Any) -> Any:
    return CliRunner().invoke(learning.learning, [str(word) for word in (family, "--rounds", 2, "--threads", 1, *more)])


def check_record(record: dict[str, Any]) -> None:
    assert record["machine"]["command"].startswith("python -m starcast.benchmarks.studies.learning")
    assert (record["training"]["steps"], record["options"]["recipe"]) == (2, "small")
    step = record["step_time"]
    assert 0 < step["least_s"] <= step["median_s"] <= step["greatest_s"]
    assert record["minutes"] == pytest.approx(2 * step["median_s"] / 60, abs=0.005)
    assert record["missed"]  # nothing is learnt in two steps


def test_translations_of_every_source_into_every_other_domain_are_judged(folder, tmp_path):
    assert study("stargan_v1", "--folder", folder, "-o", tmp_path / "record.json").exit_code == 1
    record = json.loads((tmp_path / "record.json").read_text())
    check_record(record)
    figures = record["figures"]
    assert [facts["translations"] for facts in figures["domains"].values()] == [12, 12, 12]
    overlaps = [facts["overlap"] for facts in figures["domains"].values()]
    assert figures["overlap"] == pytest.approx(np.mean(overlaps), abs=1e-4)
    with Image.open(tmp_path / "record.png") as sheet:
        assert sheet.size == (2 + 16 * 34, 2 + 6 * 34)  # a row of sources and one of translations for each domain


def test_generated_images_are_judged_and_an_interrupted_study_continues(folder, tmp_path):
    alone = study("stylegan2", "--folder", folder, "--time-only")
    assert alone.exit_code == 0, alone.output
    assert not (folder / "run").exists()
    assert study("stylegan2", "--folder", folder, "-o", tmp_path / "record.json").exit_code == 1
    record = json.loads((tmp_path / "record.json").read_text())
    check_record(record)
    assert record["step_time"] == json.loads((folder / "step-time.json").read_text())["step_time"]
    figures = record["figures"]
    assert figures["images each"] == 9  # half of the six of three domains
    for judge in ("colours", "patterns"):
        distances = figures[f"distance by {judge}"]
        assert distances["gaussian"] == min(distances["gaussian by components"].values())
        assert set(distances["gaussian by components"]) == {"10", "12"}  # 12: one for each training image
        assert min(distances["generated"], distances["real"]) > 0
    assert sum(figures["domains of generated images"].values()) == pytest.approx(1, abs=1e-3)
    with Image.open(tmp_path / "record.png") as sheet:
        assert sheet.size == (2 + 9 * 34, 2 + 3 * 34)

    [checkpoint] = (folder / "run/checkpoints").iterdir()
    before = checkpoint.read_bytes()
    study("stylegan2", "--folder", folder, "-o", tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text())["figures"] == figures
    assert checkpoint.read_bytes() == before
    other = study("stylegan2", "--folder", folder, "--steps", 4)
    assert isinstance(other.exception, OptionError)
    assert "was trained with other options" in str(other.exception)
    assert np.array_equal(learning_judges.generate(checkpoint, 3), learning_judges.generate(checkpoint, 3))
    assert not np.array_equal(learning_judges.generate(checkpoint, 3), learning_judges.generate(checkpoint, 3, seed=1))


def test_a_family_with_styles_is_left_to_the_demo(folder):
    result = study("stargan_v2", "--folder", folder)
    assert isinstance(result.exception, OptionError)
    assert "`starcast demo`, which judges" in str(result.exception)


def test_time_only_needs_a_folder():
    with pytest.raises(OptionError, match="give one with --folder"):
        learning.LearningOptions(time_only=True)


@pytest.mark.parametrize(("bar", "least"), [(learning_judges.FLIPPED, 0.9), (learning_judges.KEPT, 0.8)])
def test_a_bar_that_is_not_reached_is_named(bar, least):
    assert bar.missed_by(least) is None
    assert "is required" in bar.missed_by(least - 0.001)
    assert "is required" in bar.missed_by(float("nan"))
