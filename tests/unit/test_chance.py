"""Secrets can be typed wherever words can."""

from renova.model.chance import SystemChance


def test_no_secret_looks_like_an_option() -> None:
    assert all(SystemChance().secret()[0].isalpha() for _ in range(500))
