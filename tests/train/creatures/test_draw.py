from __future__ import annotations

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.train.creatures.anatomy import Pose
from starcast.train.creatures.coats import DOMAINS, Coat, random_coat
from starcast.train.creatures.draw import draw_creature
from starcast.train.creatures.poses import random_pose, walk

SIZE = 64
seeds = st.integers(0, 2**32)
domains = st.sampled_from(sorted(DOMAINS))


def creature(seed: int, domain: str = "striped") -> tuple[Pose, Coat]:
    random = np.random.default_rng(seed)
    return random_pose(random), random_coat(random, domain)


def touches_the_edge(silhouette: np.ndarray) -> bool:
    return bool(silhouette[[0, -1]].any() or silhouette[:, [0, -1]].any())


@given(seeds, domains)
@settings(max_examples=60, deadline=None)
def test_a_creature_lies_wholly_inside_and_fills_a_good_part_of_the_image(seed, domain):
    image, silhouette = draw_creature(*creature(seed, domain), SIZE)
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == np.uint8
    assert not touches_the_edge(silhouette)
    assert 0.12 < silhouette.mean() < 0.5


@given(seeds, st.floats(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_walking_creature_stays_inside_the_image(seed, seconds):
    pose, coat = creature(seed)
    assert not touches_the_edge(draw_creature(walk(pose, seconds), coat, SIZE)[1])


@given(seeds, domains)
@settings(max_examples=30, deadline=None)
def test_outside_the_silhouette_lies_nothing_but_the_backdrops_grey(seed, domain):
    pose, coat = creature(seed, domain)
    image, silhouette = draw_creature(pose, coat, SIZE)
    outside = cv2.dilate(silhouette.astype(np.uint8), np.ones((5, 5))) == 0
    assert np.unique(image[outside]).tolist() == [round(pose.backdrop)]


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_silhouette_is_a_matter_of_the_pose_alone(seed):
    pose, _ = creature(seed)
    silhouettes = [draw_creature(pose, creature(seed, domain)[1], SIZE)[1] for domain in DOMAINS]
    assert all(np.array_equal(silhouettes[0], other) for other in silhouettes[1:])


@given(seeds, domains)
@settings(max_examples=20, deadline=None)
def test_facts_read_back_from_json_draw_the_same_image(seed, domain):
    pose, coat = creature(seed, domain)
    again = Pose(**json.loads(json.dumps(dataclasses.asdict(pose))))
    fact = json.loads(json.dumps(dataclasses.asdict(coat)))
    recoated = Coat(**{**fact, "colour": tuple(fact["colour"])})
    assert (again, recoated) == (pose, coat)
    assert np.array_equal(draw_creature(again, recoated, SIZE)[0], draw_creature(pose, coat, SIZE)[0])


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_a_creature_that_faces_the_other_way_is_its_mirror_image(seed):
    pose, coat = creature(seed)
    mirrored = dataclasses.replace(pose, x=1 - pose.x, facing=-pose.facing)
    one, other = draw_creature(pose, coat, SIZE)[1], draw_creature(mirrored, coat, SIZE)[1][:, ::-1]
    assert (one & other).sum() / (one | other).sum() > 0.97


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_larger_drawing_averaged_is_the_smaller_one(domain):
    pose, coat = creature(3, domain)
    large, _ = draw_creature(pose, coat, 2 * SIZE)
    averaged = large.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    assert np.abs(averaged - draw_creature(pose, coat, SIZE)[0]).mean() < 2.0


@pytest.mark.parametrize(("domain", "share"), [("striped", 0.46), ("spotted", math.pi * 0.35**2), ("checked", 0.5)])
def test_markings_cover_the_share_of_a_period_that_geometry_gives(domain, share):
    axis = (np.arange(800) + 0.5) / 400  # two periods
    v, u = np.meshgrid(axis, axis, indexing="ij")
    assert DOMAINS[domain].pattern(u, v).mean() == pytest.approx(share, abs=0.005)


@given(seeds, domains)
@settings(max_examples=50, deadline=None)
def test_a_coats_colour_lies_near_the_line_of_its_domain(seed, domain):
    colour = np.array(creature(seed, domain)[1].colour)
    first, last = np.array(DOMAINS[domain].first), np.array(DOMAINS[domain].last)
    along = np.clip((colour - first) @ (last - first) / ((last - first) @ (last - first)), 0, 1)
    assert np.abs(colour - first - along * (last - first)).max() <= 20
    assert colour.min() >= 0
    assert colour.max() <= 255


@pytest.mark.parametrize(("domain", "hue"), [("striped", 0), ("spotted", 1), ("checked", 2)])
def test_each_domain_has_its_range_of_colours(domain, hue):
    colours = np.array([creature(seed, domain)[1].colour for seed in range(100)])
    assert colours.mean(axis=0).argmax() == hue
    assert colours.std(axis=0).max() > 30  # wide enough for a style to be measured


def test_every_domain_has_the_same_backdrops():
    greys = {domain: [creature(seed, domain)[0].backdrop for seed in range(20)] for domain in DOMAINS}
    assert greys["checked"] == greys["spotted"] == greys["striped"]
    assert all(194 <= grey <= 206 for grey in greys["checked"])
