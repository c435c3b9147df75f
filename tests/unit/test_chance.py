"""Secrets can be typed wherever words can."""

from renova.model.chance import SystemChance


def test_no_secret_looks_like_an_option() -> None:
    assert not any(SystemChance().secret().startswith("-") for _ in range(500))
