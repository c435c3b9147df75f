"""What an extra spec asks is read as Nova reads it."""

import pytest

from renova.scheduling.extra_specs import satisfies


@pytest.mark.parametrize(
    ("value", "asked", "so"),
    [
        ("x86_64", "x86_64", True),
        ("x86_64", "aarch64", False),
        ("a b", "a b", True),
        ("", "", True),
        ("8", ">= 8", True),
        ("8", ">= 9", False),
        ("8", "<= 8", True),
        ("10", ">= 9", True),  # as numbers, not as texts
        ("8", "= 4", True),  # at least
        ("8", "= 9", False),
        ("8.0", "== 8", True),
        ("8", "!= 8", False),
        ("many", ">= 1", False),
        ("1", ">= many", False),
        ("1", ">=", False),
        ("abc", "s== abc", True),
        ("abc", "s!= abc", False),
        ("abc", "s< abd", True),
        ("abc", "s<= abc", True),
        ("abc", "s> abb", True),
        ("abc", "s>= abd", False),
        ("abc", "s==", False),
        ("12311321", "<in> 11", True),
        ("12311321", "<in> 44", False),
        ("aes sse avx", "<all-in> aes avx", True),
        ("aes sse", "<all-in> aes avx", False),
        ("aes", "<all-in>", False),
        ("12", "<or> 11 <or> 12", True),
        ("13", "<or> 11 <or> 12", False),
        ("<or>", "<or> 11 <or> 12", False),
        ("12", "<or>", False),
    ],
)
def test_a_value_is_as_asked_or_not(value: str, asked: str, so: bool) -> None:
    assert satisfies(value, asked) is so
