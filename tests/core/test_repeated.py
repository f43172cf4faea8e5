from hypothesis import given
from hypothesis import strategies as st

from condyle.core.case import repeated


@given(st.lists(st.sampled_from("abcdef")))
def test_what_is_repeated_is_found_once_in_order(names):
    assert repeated(names) == sorted({name for name in names if names.count(name) > 1})
    assert repeated(iter(names)) == repeated(names)
