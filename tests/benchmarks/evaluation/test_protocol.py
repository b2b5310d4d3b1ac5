"""The official protocol: which pairs, which references, which latents."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.benchmarks.evaluation.protocol import batches_of, latent_draws, pairs_of, reference_batches, task_batches


def test_afhq_has_six_tasks_and_celeba_has_two():
    assert {pair.name for pair in pairs_of(["cat", "dog", "wild"])} == {
        "cat2dog", "cat2wild", "dog2cat", "dog2wild", "wild2cat", "wild2dog",
    }  # fmt: skip
    assert [pair.name for pair in pairs_of(["female", "male"])] == ["male2female", "female2male"]


def test_a_single_domain_is_translated_into_itself():
    (pair,) = pairs_of(["cat"])
    assert (pair.source, pair.target, pair.name) == (0, 0, "cat2cat")


def test_pairs_whose_official_names_are_equal_get_different_ones():
    names = [pair.name for pair in pairs_of(["a", "a2b", "b2c", "c"])]
    assert len(set(names)) == 12


@given(count=st.integers(1, 100), size=st.integers(1, 40))
def test_batches_hold_every_source_once_and_only_the_last_is_short(count, size):
    batches = batches_of(count, size)
    assert [place for batch in batches for place in batch] == list(range(count))
    assert {len(batch) for batch in batches[:-1]} <= {size}


@given(count=st.integers(1, 70), size=st.integers(1, 33), seed=st.integers(0, 2**32 - 1))
def test_references_come_in_full_shuffled_batches_of_any_number_of_images(count, size, seed):
    batches = list(islice(reference_batches(count, size, seed, 0), 5))
    assert all(len(batch) == size and set(batch) <= set(range(count)) for batch in batches)
    if count >= size:  # what is left of a shuffle is dropped, and a shuffle has no image twice
        whole = np.concatenate(batches[: count // size])
        assert len(set(whole)) == len(whole)
    else:
        assert set(batches[0]) == set(range(count))


def test_the_stream_of_references_goes_on_from_one_source_domain_to_the_next():
    pairs = pairs_of(["cat", "dog", "wild"])
    to_dog = [pair for pair in pairs if pair.target == 1]
    counts, settings = [5, 7, 4], {"mode": "reference", "outputs": 3, "size": 2, "seed": 9}
    batches = [batch for pair in to_dog for batch in task_batches(pair, pairs, counts, **settings)]
    stream = reference_batches(7, 2, 9, 1)
    expected = [[next(stream)[: len(batch.sources)] for _ in range(3)] for batch in batches]
    assert [len(batch.sources) for batch in batches] == [2, 2, 1, 2, 2]
    for batch, rows in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(batch.references, rows)


@pytest.mark.parametrize("other", [(4, 0, 0), (3, 1, 0), (3, 0, 1)])
def test_every_seed_task_and_batch_has_latents_of_its_own(other):
    pairs = pairs_of(["cat", "dog", "wild"])

    def latents(seed, pair, number):
        batch = task_batches(pairs[pair], pairs, [4, 4, 4], mode="latent", outputs=1, size=2, seed=seed)[number]
        return latent_draws(seed, pairs[pair], batch).standard_normal(4)

    np.testing.assert_array_equal(latents(3, 0, 0), latents(3, 0, 0))
    assert (latents(3, 0, 0) != latents(*other)).all()
