from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.errors import StyleError
from starcast.runtime.domains import domain_in_name, domain_index

DOMAINS = ("cat", "dog", "wild")


@pytest.mark.parametrize(("domain", "number"), [("cat", 0), ("wild", 2), ("1", 1), (2, 2), (np.int64(1), 1), ("01", 1)])
def test_a_domain_is_found_by_name_or_number(domain, number):
    assert domain_index(domain, DOMAINS) == number


def test_a_name_comes_before_a_number_that_is_spelt_alike():
    assert domain_index("1", ("0", "2", "1")) == 2
    assert domain_index(1, ("0", "2", "1")) == 1


@pytest.mark.parametrize("domain", ["cow", "3", 3, -1, "-1", "", "Dog", "1.0", "²", "9" * 5000])
def test_an_unknown_domain_is_answered_with_the_domains(domain):
    with pytest.raises(StyleError, match=r"there is no domain .*: the bundle has cat \(0\), dog \(1\), wild \(2\)"):
        domain_index(domain, DOMAINS)


def test_the_domain_may_be_left_out_where_there_is_one():
    assert domain_index(None, ("face",)) == 0


@pytest.mark.parametrize(("name", "domain"), [
    ("dog.jpg", "dog"), ("dog-rex.jpg", "dog"), ("dog_3.png", "dog"), ("dog3.png", "dog"), ("DOG 1.JPG", "dog"),
    ("1.png", "dog"), ("1-rex.jpg", "dog"), ("2_b.png", "wild"), ("0.png", "cat"), ("1rex.jpg", "dog"),
    ("dogma.jpg", None), ("rex-dog.jpg", None), ("001.jpg", None), ("3.jpg", None), ("12.jpg", None), (".png", None),
])  # fmt: skip
def test_a_file_name_begins_with_a_domains_name_or_number(name, domain):
    assert domain_in_name(Path("folder") / name, DOMAINS) == domain


def test_the_longest_name_wins_and_a_name_comes_before_a_number():
    assert domain_in_name(Path("big-dog-1.png"), ("big", "big-dog")) == "big-dog"
    assert domain_in_name(Path("0-a.png"), ("a", "0")) == "0"
    assert domain_in_name(Path("2020-a.png"), ("a", "20")) is None


@given(st.text(max_size=12), st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4, unique=True))
def test_any_file_name_is_of_a_known_domain_or_of_none(name, domains):
    assert domain_in_name(Path(name.replace("/", "") + ".png"), domains) in (None, *domains)
