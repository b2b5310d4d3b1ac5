"""Options of a run: ranges, the values that exclude each other, and what a resumed run may change."""

from __future__ import annotations

import pytest

from starcast.errors import OptionError
from starcast.options import as_json, flat_fields, from_flat, from_json, replace_options, to_flat
from starcast.train.families import FAMILIES, options_class, read_recipe
from starcast.train.families.stargan_v2.options import StarGANv2Options
from starcast.train.options import check_same_shapes


def stargan_v2(**values):
    return from_flat(StarGANv2Options, values)


def test_every_option_has_a_help_text():
    assert all(field.metadata["help"].endswith(".") for field, _ in flat_fields(StarGANv2Options))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_name_stands_in_two_groups(family):
    names = [field.name for field, _ in flat_fields(options_class(family))]
    assert len(names) == len(set(names))


def test_defaults_are_the_official_recipe():
    options = StarGANv2Options()
    course, adam, network = options.course, options.optimizer, options.network
    assert (options.data.batch_size, course.steps, options.loss.ds_steps, course.seed) == (8, 100_000, 100_000, 777)
    assert (adam.learning_rate, adam.mapping_learning_rate, adam.weight_decay) == (1e-4, 1e-6, 1e-4)
    assert (adam.beta1, adam.beta2, course.average_decay) == (0.0, 0.99, 0.999)
    assert (network.channel_base, network.max_channels, network.mapping_width) == (2**14, 512, 512)


def test_changed_options_keep_all_others():
    options = stargan_v2(domains=("photo", "ink"), lambda_reg=0.5, compile=True)
    changed = replace_options(options, steps=7, style_dim=8)
    assert (changed.course.steps, changed.network.style_dim) == (7, 8)
    assert to_flat(changed) == {**to_flat(options), "steps": 7, "style_dim": 8}


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
        stargan_v2(**values)


def test_options_come_back_from_json_as_they_went():
    options = stargan_v2(domains=("photo", "ink"), learning_rate=3e-4, steps=5)
    assert from_json(StarGANv2Options, as_json(options), "run.json") == options


def test_a_resumed_run_may_change_its_rates_but_not_its_shapes():
    trained = stargan_v2(image_size=64)
    check_same_shapes(stargan_v2(image_size=64, learning_rate=5e-5, steps=7), trained, "step-000010.pt")
    with pytest.raises(OptionError, match=r"--style-dim is 8, but step-000010\.pt was trained with 64"):
        check_same_shapes(stargan_v2(image_size=64, style_dim=8), trained, "step-000010.pt")


def test_every_recipe_is_one_that_the_options_take_and_a_change_wins_over_it():
    names = [path.stem for path in StarGANv2Options.recipes.glob("*.toml")]
    assert "small" in names
    for name in names:
        assert read_recipe(name, seed=5).course.seed == 5
    assert read_recipe("small").network.image_size == 64
