"""Numbers in digits, as far as anybody may write them."""

import pytest

from renova.api.digits import ENDLESS, whole


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("999999999999999999", 10**18 - 1),
        ("1000000000000000000", ENDLESS),
        ("9" * 60_000, ENDLESS),
        ("0" * 60_000 + "5", 5),
    ],
)
def test_a_number_of_any_length_is_read(text: str, number: int) -> None:
    assert whole(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1_000", " 1", "٣", "1e3", "0x1"])
def test_what_is_no_whole_number_is_none(text: str) -> None:
    assert whole(text) is None
