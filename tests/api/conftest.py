"""Passwords that cost little: each test makes users, and the cost of a real hash is not what it is about."""

from collections.abc import Iterator

import argon2
import pytest

from renova.partners.identity import passwords


@pytest.fixture(autouse=True, scope="package")
def cheap_hashes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        patch.setattr(passwords, "_NOBODY", passwords._hasher.hash("no user has this password"))
        yield
