"""The roles of the cloud: a fixed chain in which each implies those after it, and `service` apart from it."""

import hashlib
from collections.abc import Iterable

_CHAIN = ("admin", "manager", "member", "reader")

# Ids never change: the names are what is stored.
ROLES = {name: hashlib.sha256(f"role {name}".encode()).hexdigest()[:32] for name in (*_CHAIN, "service")}


def with_implied(given: Iterable[str]) -> frozenset[str]:
    """Return the roles with all that they imply."""
    effective: set[str] = set()
    for role in given:
        effective.update(_CHAIN[_CHAIN.index(role) :] if role in _CHAIN else (role,))
    return frozenset(effective)


def named(role_id: str) -> str | None:
    """Return the name of the role with this id."""
    return next((name for name, known in ROLES.items() if known == role_id), None)
