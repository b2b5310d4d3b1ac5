"""A configuration comes back from the shapes of its networks, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from starcast.errors import CheckpointError
from starcast.train.checkpoint.content import is_state_dict
from starcast.train.checkpoint.unwrap import unwrap
from starcast.train.families.stargan_v2.layers import high_pass_filter
from starcast.train.families.stargan_v2.networks import (
    Generator,
    MappingNetwork,
    StarGANv2Config,
    StyleEncoder,
)
from starcast.train.families.stargan_v2.official import infer_config, is_official

CONFIGS = st.builds(
    StarGANv2Config,
    image_size=st.sampled_from([32, 64, 128, 256, 512, 1024]),
    domains=st.integers(1, 20),
    style_dim=st.integers(1, 70),
    latent_dim=st.integers(1, 40),
    mapping_width=st.integers(1, 80),
    channel_base=st.integers(1024, 2**14),
    max_channels=st.integers(1, 600),
)


def shapes_of(config: StarGANv2Config) -> dict[str, dict[str, Tensor]]:
    """The three state_dicts of a configuration, with shapes and without values."""
    with torch.device("meta"):
        networks = {
            "generator": Generator(config),
            "mapping_network": MappingNetwork(config),
            "style_encoder": StyleEncoder(config),
        }
    return {name: network.state_dict() for name, network in networks.items()}


def plain_shapes(states: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Any]]:
    return {name: {key: tuple(value.shape) for key, value in state.items()} for name, state in states.items()}


@settings(max_examples=60, deadline=None)
@given(CONFIGS)
def test_the_inferred_configuration_builds_networks_of_the_same_shapes(config: StarGANv2Config) -> None:
    states = shapes_of(config)
    found = infer_config(states, "a file")
    assert plain_shapes(shapes_of(found)) == plain_shapes(states)
    for fact in ("image_size", "domains", "style_dim", "latent_dim", "mapping_width", "first_channels"):
        assert getattr(found, fact) == getattr(config, fact)


def test_the_size_is_not_taken_from_the_width() -> None:
    """64 channels at first are 256 pixels in the official program, and here 32."""
    config = StarGANv2Config(image_size=32, domains=2, channel_base=64 * 32, max_channels=64)
    assert infer_config(shapes_of(config), "a file").image_size == 32


def test_the_order_of_the_keys_decides_nothing() -> None:
    config = StarGANv2Config(image_size=64, domains=12, channel_base=1024, max_channels=32)
    states = {name: dict(reversed(state.items())) for name, state in shapes_of(config).items()}
    assert infer_config(states, "a file") == config


@pytest.mark.parametrize("side", [32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0, 3.0, 7.0])
def test_a_face_model_and_its_strength_are_recognised_at_every_size(side: int, strength: float) -> None:
    config = StarGANv2Config(
        image_size=side, domains=2, channel_base=1024, max_channels=32, high_pass=strength, mapping_width=8
    )
    states = shapes_of(config)
    states["generator"]["hpf.filter"] = high_pass_filter(strength)
    assert infer_config(states, "a file") == config


def test_a_face_model_without_its_filter_has_that_of_strength_1() -> None:
    config = StarGANv2Config(image_size=64, domains=2, channel_base=1024, max_channels=32, high_pass=1.0)
    states = shapes_of(config)
    del states["generator"]["hpf.filter"]
    assert infer_config(states, "a file") == config


@pytest.mark.parametrize("centre", [0.0, -1.0, float("inf"), float("nan")])
def test_a_filter_of_no_strength_is_refused(centre: float) -> None:
    states = shapes_of(StarGANv2Config(image_size=64, domains=2, channel_base=1024, max_channels=32, high_pass=1.0))
    states["generator"]["hpf.filter"] = torch.full((3, 3), centre)
    with pytest.raises(CheckpointError, match="a filter with the centre"):
        infer_config(states, "a file")


def test_a_generator_deeper_than_its_style_encoder_is_refused() -> None:
    states = shapes_of(StarGANv2Config(image_size=64, domains=2, channel_base=1024, max_channels=32))
    deeper = shapes_of(StarGANv2Config(image_size=256, domains=2, channel_base=4096, max_channels=32))
    with pytest.raises(CheckpointError, match="a file has 6 encode blocks in its generator, more than"):
        infer_config({**states, "generator": deeper["generator"]}, "a file")


@pytest.mark.parametrize(
    ("network", "key"),
    [
        ("generator", "from_rgb.weight"),
        ("mapping_network", "shared.0.weight"),
        ("mapping_network", "unshared.0.6.weight"),
        ("style_encoder", "shared.6.weight"),
    ],
)
def test_what_is_missing_is_named(network: str, key: str) -> None:
    states = shapes_of(StarGANv2Config(image_size=64, domains=2, channel_base=1024, max_channels=32))
    del states[network][key]
    with pytest.raises(CheckpointError, match=f"lacks parts of them .{key}.: give a whole"):
        infer_config(states, "a file")


def test_a_prefix_of_parallel_training_is_taken_off() -> None:
    assert list(unwrap({"module.from_rgb.bias": torch.zeros(1)})) == ["from_rgb.bias"]


@pytest.mark.parametrize("content", [None, {}, [], {"a": 1}, {1: torch.zeros(1)}, torch.zeros(1)], ids=repr)
def test_what_is_no_table_of_names_and_tensors_is_no_state_dict(content: object) -> None:
    assert not is_state_dict(content)
    assert not is_official(content)
    assert not is_official({"generator": content, "mapping_network": content, "style_encoder": content})
