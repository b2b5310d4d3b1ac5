"""Labels: hair colours exclude each other, everything else is independent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.attributes import HAIR_COLOURS, change_labels, each_changed

ORACLE = Path(__file__).resolve().parents[1] / "oracles" / "stargan_v1" / "oracle.npz"
CELEBA = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
NAMES = st.lists(st.sampled_from((*CELEBA, "Gray_Hair", "Smiling")), min_size=1, unique=True)


def test_each_label_changed_is_the_original_programs():
    with np.load(ORACLE) as oracle:
        np.testing.assert_array_equal(each_changed(oracle["label_org"], CELEBA), oracle["labels_celeba"])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"on": ["Blond_Hair"]}, [0, 1, 0, 1, 0]),
        ({"off": ["Male"]}, [1, 0, 0, 0, 0]),
        ({"flip": ["Male", "Young"]}, [1, 0, 0, 0, 1]),
        ({"flip": ["Black_Hair"]}, [0, 0, 0, 1, 0]),
        ({"flip": ["Brown_Hair"]}, [0, 0, 1, 1, 0]),
        ({"on": ["Blond_Hair"], "off": ["Male"], "flip": ["Young"]}, [0, 1, 0, 0, 1]),
        ({"off": ["Black_Hair"]}, [0, 0, 0, 1, 0]),
        ({}, [1, 0, 0, 1, 0]),
    ],
)
def test_changes_of_a_man_with_black_hair(changes, wanted):
    labels = np.array([1, 0, 0, 1, 0], np.float32)
    assert change_labels(labels, CELEBA, **changes).tolist() == wanted
    assert labels.tolist() == [1, 0, 0, 1, 0]


@given(NAMES, st.data())
def test_a_hair_colour_that_is_set_is_the_only_one(names, data):
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(names), max_size=len(names))))
    for name, changed in zip(names, each_changed(labels, names), strict=True):
        others = [number for number, other in enumerate(names) if other != name]
        hair = [number for number in others if names[number] in HAIR_COLOURS]
        if name in HAIR_COLOURS:
            assert changed[names.index(name)] == 1
            assert not changed[hair].any()
            others = [number for number in others if number not in hair]
        else:
            assert changed[names.index(name)] == 1 - labels[names.index(name)]
        np.testing.assert_array_equal(changed[others], labels[others])
