"""Numbers and options that a user names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_domains.core.numbers import (
    check_known,
    numbers_of,
    odd,
    one_of,
    options_of,
    share_below_one,
    whole_from,
)
from tests.core.refusal import refused


@pytest.mark.parametrize(
    ("text", "kinds", "found"),
    [
        ("16-24-40", {}, [16, 24, 40]),
        ("5-3", {}, [5, 3]),
        (7, {}, [7]),
        ([4, "8"], {}, [4, 8]),
        ("0.5-1", {"fractions": True}, [0.5, 1]),
        ("0-2", {"zero": True}, [0, 2]),
        ("0-0.5", {"zero": True, "fractions": True}, [0, 0.5]),
    ],
)
def test_numbers_are_read_in_the_order_given(text, kinds, found):
    assert numbers_of("space", "sizes", text, **kinds) == found
    assert options_of("space", "sizes", text, **kinds) == sorted(found)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=5))
def test_numbers_come_back_as_they_were_written(numbers):
    assert numbers_of("space", "sizes", "-".join(map(str, numbers))) == numbers


@pytest.mark.parametrize(
    ("text", "kinds", "said"),
    [
        ("0", {}, "whole numbers > 0"),
        ("0", {"fractions": True}, "numbers > 0"),
        ("1.5", {}, "whole numbers > 0"),
        ("1.5", {"zero": True}, "whole numbers >= 0"),
        ("-1-2", {"zero": True}, "whole numbers >= 0"),
        (-1, {"zero": True, "fractions": True}, "numbers >= 0"),
        ("3-x", {}, "whole numbers"),
        ("inf", {"fractions": True}, "numbers > 0"),
        ("nan", {"zero": True}, ">= 0"),
        (True, {}, "whole numbers"),
        ([None], {}, "whole numbers"),
        ([], {}, "is empty"),
    ],
)
def test_what_is_no_number_is_named(text, kinds, said):
    with refused("sizes", "'space'", said):
        numbers_of("space", "sizes", text, **kinds)


def test_options_one_number_and_kernels():
    with refused("sizes='3-3'", "twice"):
        options_of("space", "sizes", "3-3")
    assert one_of("space", "stem", "8") == 8
    with refused("stem='8-16'", "one number"):
        one_of("space", "stem", "8-16")
    odd("space", "kernels", [1, 3, 9])
    with refused("kernels=4", "odd"):
        odd("space", "kernels", [3, 4])


@pytest.mark.parametrize("given", [1, 1.5, -0.1, "0.1", None, True, float("nan")])
def test_a_share_is_below_one(given):
    assert share_below_one("space", "dropout", 0.25) == 0.25
    with refused(f"dropout={given!r}", "below 1"):
        share_below_one("space", "dropout", given)


@pytest.mark.parametrize("given", [-1, "1.5", "x", "", None, "²", 2])
def test_a_whole_number_of_an_option(given):
    assert whole_from("bins", "3", 3) == 3
    with refused(f"bins={given!r}", "from 3 on"):
        whole_from("bins", given, 3)


def test_an_option_that_a_task_does_not_have():
    check_known("images", ("seed", "split"), {"seed": 1})
    with refused("'images'", "'sede'", "seed, split"):
        check_known("images", ("seed", "split"), {"sede": 1})
