"""TrainOptions: ranges, the values that exclude each other, and what a resumed run may change."""

from __future__ import annotations

import dataclasses

import pytest

from starcast.errors import OptionError
from starcast.options import as_json, from_json
from starcast.train.options import RECIPES, TrainOptions, check_same_shapes, recipe


def test_every_option_has_a_help_text():
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(TrainOptions))


def test_defaults_are_the_official_recipe():
    options = TrainOptions()
    assert (options.batch_size, options.steps, options.ds_steps, options.seed) == (8, 100_000, 100_000, 777)
    assert (options.learning_rate, options.mapping_learning_rate, options.weight_decay) == (1e-4, 1e-6, 1e-4)
    assert (options.beta1, options.beta2, options.average_decay) == (0.0, 0.99, 0.999)
    assert (options.channel_base, options.max_channels, options.mapping_width) == (2**14, 512, 512)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image_size": 100}, "power of two"),
        ({"image_size": 16}, "at least 32"),
        ({"image_size": 256, "channel_base": 128}, "no channel"),
        ({"domains": ("cat", "cat")}, "twice"),
        ({"device": "tpu"}, "auto, cpu, cuda"),
        ({"keep": 0}, "at least 1"),
        ({"crop_probability": 1.5}, "at most 1"),
    ],
)
def test_values_that_cannot_work_are_refused_in_one_sentence(values, sentence):
    with pytest.raises(OptionError, match=sentence):
        TrainOptions(**values)


def test_options_come_back_from_json_as_they_went():
    options = TrainOptions(domains=("photo", "ink"), learning_rate=3e-4, steps=5)
    assert from_json(TrainOptions, as_json(options), "run.json") == options


def test_a_resumed_run_may_change_its_rates_but_not_its_shapes():
    trained = TrainOptions(image_size=64)
    check_same_shapes(TrainOptions(image_size=64, learning_rate=5e-5, steps=7), trained, "step-000010.pt")
    with pytest.raises(OptionError, match=r"--style-dim is 8, but step-000010\.pt was trained with 64"):
        check_same_shapes(TrainOptions(image_size=64, style_dim=8), trained, "step-000010.pt")


def test_every_recipe_is_one_that_the_options_take_and_a_change_wins_over_it():
    names = [path.stem for path in RECIPES.glob("*.toml")]
    assert "small" in names
    for name in names:
        assert recipe(name, seed=5).seed == 5
    assert recipe("small").image_size == 64
