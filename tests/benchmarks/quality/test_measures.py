from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from starcast.benchmarks.quality.measures import (
    backdrop_drifts,
    coat_colours,
    find_silhouettes,
    overlaps,
    rank_correlation,
    spread,
)
from starcast.train.creatures.coats import DOMAINS
from starcast.train.creatures.dataset import creature_of
from starcast.train.creatures.draw import draw_creature

numbers = st.lists(st.integers(-1000, 1000), min_size=3, max_size=30).map(lambda row: np.array(row, float))


def square(low: int, high: int) -> np.ndarray:
    mask = np.zeros((1, 20, 20), bool)
    mask[:, low:high, low:high] = True
    return mask


def picture(mask: np.ndarray, creature: int | tuple[int, int, int], backdrop: int = 200) -> np.ndarray:
    return np.where(mask[..., None], np.array(creature, np.uint8), np.uint8(backdrop)).astype(np.uint8) + np.zeros(
        3, np.uint8
    )


@pytest.mark.parametrize("domain", DOMAINS)
def test_silhouettes_found_on_real_images_are_the_true_ones(domain):
    drawn = [draw_creature(*creature_of(7, domain, "val", index), 64) for index in range(30)]
    found = find_silhouettes(np.stack([image for image, _ in drawn]))
    assert overlaps(found, np.stack([silhouette for _, silhouette in drawn])).mean() >= 0.95


def test_a_drifted_backdrop_does_not_hide_the_silhouette():
    assert np.array_equal(find_silhouettes(picture(square(5, 12), (220, 30, 40), backdrop=140)), square(5, 12))


def test_a_pale_spot_inside_belongs_to_the_creature_and_a_gap_does_not():
    image = picture(square(4, 14), 40)
    image[:, 8:10, 8:10] = 178  # 22 from the backdrop
    assert find_silhouettes(image)[0, 8, 8]
    image[:, 8:10, 8:10] = 202
    assert not find_silhouettes(image)[0, 8, 8]


def test_an_empty_picture_has_no_silhouette():
    empty = picture(np.zeros((1, 20, 20), bool), 0)
    assert not find_silhouettes(empty).any()
    assert overlaps(find_silhouettes(empty), square(5, 10)).tolist() == [0.0]


def test_overlap_is_the_intersection_over_the_union():
    assert overlaps(square(0, 10), square(5, 15)).tolist() == [25 / 175]
    assert overlaps(square(3, 9), square(3, 9)).tolist() == [1.0]


def test_drift_is_the_backdrops_alone_and_the_worst_channels():
    silhouette = square(5, 12)
    translation = picture(silhouette, (250, 0, 0)) + np.array([3, 0, 9], np.uint8)
    assert backdrop_drifts(picture(silhouette, 40), translation, silhouette).tolist() == [9.0]
    assert backdrop_drifts(picture(silhouette, 40), picture(silhouette, 90), silhouette).tolist() == [0.0]


def test_a_coats_colour_is_its_mean_without_the_edge():
    image = picture(square(5, 12), (180, 90, 30))
    image[:, 5, 5:12] = 0  # the edge's own colour does not count
    assert coat_colours(image, square(5, 12)).tolist() == [[180.0, 90.0, 30.0]]


def test_spread_is_the_root_of_the_summed_variances():
    colours = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0]])
    assert spread(colours) == pytest.approx(math.sqrt((2 + 8) / 3))
    assert spread(np.ones((5, 3))) == 0.0


def test_rank_correlation_without_ties_is_spearmans_formula():
    first, second = np.array([10.0, 20, 30, 40, 50]), np.array([1.0, 3, 2, 5, 4])
    differences = np.array([1, 2, 3, 4, 5]) - second
    assert rank_correlation(first, second) == pytest.approx(1 - 6 * (differences**2).sum() / (5 * 24))


def test_equal_values_share_the_mean_of_their_ranks():
    # ranks 1.5 1.5 3 and 1 2 3: covariance 1.5, variances 1.5 and 2
    assert rank_correlation(np.array([7.0, 7, 9]), np.array([1.0, 2, 3])) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_a_constant_row_follows_nothing():
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0.0


@given(numbers)
def test_rank_correlation_looks_at_the_order_alone(row):
    assume(len(np.unique(row)) > 1)
    assert rank_correlation(row, row**3) == pytest.approx(1.0)
    assert rank_correlation(row, -row) == pytest.approx(-1.0)
