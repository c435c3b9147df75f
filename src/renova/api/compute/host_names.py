"""The name that a guest gives itself: asked for from 2.90 on, else made from the server's name."""

import re

from renova.api.http import Version
from renova.model.errors import Invalid

_LABEL = re.compile(r"[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+")
_DOMAIN_NAME = re.compile(r"[a-zA-Z0-9\-._]*")


def checked(name: str, version: Version) -> str:
    """Return the host name asked for; `Invalid` when the microversion does not allow it."""
    pattern, shortest, longest = (_DOMAIN_NAME, 1, 255) if version >= (2, 94) else (_LABEL, 2, 63)
    if not shortest <= len(name) <= longest or not pattern.fullmatch(name):
        raise Invalid(f"Invalid input for field/attribute hostname. Value: {name}. It is no host name.")
    return name


def made_from(name: str, otherwise: str) -> str:
    """Return a host name like the server's name, or the other where nothing of it can stand in one."""
    plain = re.sub(r"[ _.?]", "-", name.encode("ascii", "ignore").decode())
    plain = re.sub(r"[^a-zA-Z0-9-]", "", plain).lower().strip("-")
    return plain[:63].strip("-") or otherwise[:63]
