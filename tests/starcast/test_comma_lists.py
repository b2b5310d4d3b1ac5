from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.comma_lists import join_commas, rejoin, split_commas
from starcast.errors import OptionError


@pytest.mark.parametrize(("text", "parts"), [
    ("a,b", ("a", "b")), (" a , b,", ("a", "b")), ("", ()), ('"a,b",c', ("a,b", "c")), ('c, "a, b"', ("c", "a, b")),
    ('"say ""hi"""', ('say "hi"',)), ("it's", ("it's",)),
])  # fmt: skip
def test_a_list_is_split_at_commas_outside_quotes(text, parts):
    assert split_commas(text) == parts


@pytest.mark.parametrize("text", ['"a,b', '"a"b,c'])
def test_an_open_quote_is_one_sentence(text):
    with pytest.raises(OptionError, match="quote a name as a whole"):
        split_commas(text)


@given(st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), max_size=4))
def test_names_of_any_letters_survive(names):
    assert list(split_commas(join_commas(names))) == names


@pytest.mark.parametrize(("parts", "known", "names"), [
    (("a", "b", "c"), {"a,b"}, ("a,b", "c")),
    (("a", "b", "c"), {"a,b", "a,b,c"}, ("a,b,c",)),
    (("c", "a", "b"), {"a, b"}, ("c", "a, b")),
    (("a", "b"), {"a", "b"}, ("a", "b")),
    (("a", "b"), set(), ("a", "b")),
    ((), {"a"}, ()),
])  # fmt: skip
def test_a_known_name_with_commas_is_meant_as_a_whole(parts, known, names):
    assert rejoin(parts, known.__contains__) == names
