from __future__ import annotations

import numpy as np
import pytest
import torch

from starcast.benchmarks.quality.classifier import train_classifier
from starcast.train.creatures.coats import DOMAINS
from starcast.train.creatures.dataset import creature_of
from starcast.train.creatures.draw import draw_creature


def images_of(split: str, count: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    images = [
        draw_creature(*creature_of(0, domain, split, index), size)[0] for domain in DOMAINS for index in range(count)
    ]
    return np.stack(images), np.repeat(np.arange(len(DOMAINS)), count)


@pytest.mark.parametrize(("pattern_only", "size"), [(False, 32), (True, 64)])  # colours can be told from small images
def test_held_out_creatures_are_told_apart(pattern_only, size):
    classify = train_classifier(*images_of("train", 100, size), pattern_only=pattern_only)
    images, domains = images_of("val", 40, size)
    assert (classify(images) == domains).mean() >= 0.95


def test_equal_seeds_give_equal_classifiers_and_chance_elsewhere_is_left_alone():
    images, domains = images_of("train", 4, size=32)
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), np.uint8)
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    first = train_classifier(images, domains)(noise)
    assert torch.rand(1) == wanted
    assert np.array_equal(first, train_classifier(images, domains)(noise))


def test_features_are_what_the_last_layer_decides_by():
    classify = train_classifier(*images_of("train", 12, size=32))
    images, domains = images_of("val", 30, size=32)
    features = classify.features(images)
    assert (features.shape, features.dtype) == ((90, 64), np.float64)
    last = classify.network[-1]
    logits = torch.from_numpy(features).float() @ last.weight.T + last.bias
    assert np.array_equal(logits.argmax(dim=1).numpy(), classify(images))
    assert (classify(images) == domains).mean() >= 0.6  # a third by chance, after 12 images of each


def test_no_image_has_no_features():
    classify = train_classifier(*images_of("train", 4, size=32))
    assert classify.features(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 64)
