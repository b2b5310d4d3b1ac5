"""Labels become the vector that a generator takes: attributes, classes, or one of both kinds."""

from __future__ import annotations

import pytest

from starcast.comma_lists import split_commas
from starcast.errors import StyleError
from starcast.runtime.labels import example_flags, label_vector, target_labels
from starcast.runtime.manifest import Classifier, LabelMaker

ATTRIBUTES = LabelMaker(names=("Black_Hair", "Blond_Hair", "Male"))
CLASSES = LabelMaker(names=("angry", "happy"), classes=2)
BOTH = LabelMaker(names=("Black_Hair", "Blond_Hair", "Male", "angry", "happy"), classes=2)


@pytest.mark.parametrize(
    ("maker", "labels", "vector"),
    [
        (ATTRIBUTES, {"Male": 1}, [0, 0, 1]),
        (ATTRIBUTES, {"Male": 0.5, "Blond_Hair": 1}, [0, 1, 0.5]),
        (CLASSES, {"happy": 1}, [0, 1]),
        (BOTH, {"Male": 1}, [0, 0, 1, 0, 0, 1, 0]),
        (BOTH, {"happy": 1}, [0, 0, 0, 0, 1, 0, 1]),
    ],
)
def test_labels_by_name(maker, labels, vector):
    assert label_vector(maker, labels).tolist() == vector
    assert maker.size == len(vector)


@pytest.mark.parametrize(
    ("maker", "change", "vector"),
    [
        (ATTRIBUTES, {"on": ["Blond_Hair"], "has": ["Black_Hair", "Male"]}, [0, 1, 1]),
        (ATTRIBUTES, {"flip": ["Male"], "has": ["Black_Hair", "Male"]}, [1, 0, 0]),
        (ATTRIBUTES, {"off": ["Black_Hair"], "has": ["Black_Hair"]}, [0, 0, 0]),
        (ATTRIBUTES, {"on": ["Male"], "has": []}, [0, 0, 1]),
        (CLASSES, {"on": ["angry"]}, [1, 0]),
        (BOTH, {"flip": ["Male"], "has": ["Blond_Hair"]}, [0, 1, 1, 0, 0, 1, 0]),
        (BOTH, {"on": ["angry"]}, [0, 0, 0, 1, 0, 0, 1]),
    ],
)
def test_changes_of_what_a_source_has(maker, change, vector):
    assert target_labels(maker, **change).tolist() == vector


@pytest.mark.parametrize(
    ("maker", "change", "sentence"),
    [
        (ATTRIBUTES, {"on": ["Smiling"], "has": []}, "no label 'Smiling': the bundle has Black_Hair, Blond_Hair, Male"),
        (ATTRIBUTES, {"on": ["Male"]}, "source's attributes are unknown: list them"),
        (ATTRIBUTES, {"on": ["Black_Hair", "Blond_Hair"], "has": []}, "exclude each other: set or flip one of them"),
        (ATTRIBUTES, {"on": ["Black_Hair"], "flip": ["Blond_Hair"], "has": []}, "exclude each other: set or flip one"),
        (ATTRIBUTES, {"flip": ["Black_Hair", "Blond_Hair"], "has": []}, "exclude each other: set or flip one"),
        (ATTRIBUTES, {"on": ["Male"], "flip": ["Male"], "has": []}, "named more than once in set, unset and flip"),
        (CLASSES, {"on": ["angry", "happy"]}, "angry is a class, and an image has exactly one: set it alone"),
        (CLASSES, {"flip": ["angry"]}, "set it alone"),
        (BOTH, {"on": ["Male", "angry"], "has": []}, "set it alone"),
        (BOTH, {"on": ["Male"], "has": ["angry"]}, "angry is a class, not an attribute"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_a_sentence(maker, change, sentence):
    with pytest.raises(StyleError, match=sentence):
        target_labels(maker, **change)


def test_labels_of_both_kinds_at_once_are_refused():
    with pytest.raises(StyleError, match="give labels of one kind"):
        label_vector(BOTH, {"Male": 1, "angry": 1})


def test_the_example_of_a_label_with_a_comma_is_read_as_that_label():
    maker = LabelMaker(names=("Big, Nose",), classifier=Classifier(graph="c.onnx", height=8, width=8))
    flag, names = example_flags(maker, "Big, Nose")
    assert (flag, split_commas(names)) == ("--set", ("Big, Nose",))
