"""Draws are functions of (seed, step, rank, purpose), and independent of each other."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.train.randomness import draws, torch_seed

keys = st.tuples(st.integers(0, 2**40), st.integers(0, 10**7), st.integers(0, 255), st.text(max_size=12))


@given(keys)
def test_equal_keys_give_equal_draws(key):
    np.testing.assert_array_equal(draws(*key).random(4), draws(*key).random(4))
    assert torch_seed(*key) == torch_seed(*key)
    assert 0 <= torch_seed(*key) < 2**63


@given(keys, keys)
def test_different_keys_give_different_draws(key, other):
    if key != other:
        assert not np.array_equal(draws(*key).random(4), draws(*other).random(4))


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_draws_are_the_same_in_every_process(hash_seed):
    code = "from starcast.train.randomness import torch_seed; print(torch_seed(777, 10, 0, 'latent'))"
    there = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, check=True
    )
    assert int(there.stdout) == torch_seed(777, 10, 0, "latent")


def test_draws_of_neighbouring_steps_are_not_correlated():
    rows = np.stack([draws(777, step, 0, "latent").standard_normal(1000) for step in range(20)])
    correlations = np.corrcoef(rows) - np.eye(20)
    assert np.abs(correlations).max() < 5 / np.sqrt(1000)  # five standard deviations of chance
