"""Passwords for the administrators of new guests."""

import hashlib

from renova.model.chance import Chance

LENGTH = 12

# Without signs that people mistake for one another.
_SIGNS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def new_password(chance: Chance) -> str:
    """Return a password of 12 signs: some 70 random bits."""
    number = int.from_bytes(hashlib.sha256(chance.secret().encode()).digest())
    signs = []
    for _ in range(LENGTH):
        number, place = divmod(number, len(_SIGNS))
        signs.append(_SIGNS[place])
    return "".join(signs)
