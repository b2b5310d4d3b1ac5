from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.comma_lists import split_commas
from starcast.errors import OptionError
from starcast.runtime.seed_lists import LARGEST_SEED, parse_mixes, parse_seeds


def _seeds(text: str) -> list[int]:
    return parse_seeds(split_commas(text), "--seeds")


@pytest.mark.parametrize(("text", "seeds"), [
    ("0-15", list(range(16))),
    ("3,7,20-22", [3, 7, 20, 21, 22]),
    ("7", [7]),
    ("5-5", [5]),
    (" 1 - 3 , 9 ", [1, 2, 3, 9]),
    ("2,1,2", [2, 1, 2]),
    ("007", [7]),
    ("4294967294-4294967295", [LARGEST_SEED - 1, LARGEST_SEED]),
    ("", []),
])  # fmt: skip
def test_a_list_names_seeds_and_ranges_of_seeds(text, seeds):
    assert _seeds(text) == seeds


@given(st.lists(st.tuples(st.integers(0, LARGEST_SEED - 40), st.integers(0, 40)), max_size=6))
def test_any_list_is_read_as_the_seeds_it_was_written_from(ranges):
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in ranges)
    assert _seeds(text) == [first + step for first, more in ranges for step in range(more + 1)]


@pytest.mark.parametrize(("text", "sentence"), [
    ("a", "--seeds has 'a': give seeds and ranges of seeds, such as 3,7,20-22"),
    ("-1", "--seeds has '-1': give seeds"),
    ("1.5", "--seeds has '1.5': give seeds"),
    ("1-2-3", "--seeds has '1-2-3': give seeds"),
    ("1-", "--seeds has '1-': give seeds"),
    ("٣", "give seeds"),
    ("9-3", "--seeds has '9-3', a range that ends before it begins: give 3-9"),
    ("4294967296", "--seeds has '4294967296': give whole numbers from 0 to 4294967295"),
    ("9" * 400, "give seeds"),
    ("0-4294967295", "--seeds makes 4294967296 styles: give at most 100000 at once"),
])  # fmt: skip
def test_what_is_no_list_of_seeds_is_one_sentence(text, sentence):
    with pytest.raises(OptionError, match=sentence):
        _seeds(text)


def test_pairs_name_two_seeds_or_two_ranges():
    assert parse_mixes(("3:7", "0-1:8-9"), "--mix") == [(3, 7), (0, 8), (0, 9), (1, 8), (1, 9)]


@pytest.mark.parametrize(("part", "sentence"), [
    ("3", "--mix has '3': give pairs of seeds, such as 3:7"),
    ("3:7:9", "--mix has '3:7:9': give pairs"),
    ("3:", "--mix has '3:': give seeds and ranges"),
    ("a:7", "--mix has 'a:7': give seeds and ranges"),
    ("0-999:0-999", "--mix makes 1000000 styles: give at most 100000"),
])  # fmt: skip
def test_what_is_no_pair_of_seeds_is_one_sentence(part, sentence):
    with pytest.raises(OptionError, match=sentence):
        parse_mixes((part,), "--mix")
