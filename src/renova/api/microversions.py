"""Microversions: which one a request asks for, and how it is written."""

import re
from collections.abc import Mapping

from renova.api.dispatch import Failure
from renova.api.http import Version
from renova.model.errors import Invalid

HEADER = "openstack-api-version"
_FORM = re.compile(r"([1-9]\d{0,5})\.([1-9]\d{0,5}|0)")


def asked_text(headers: Mapping[str, str], *services: str) -> str | None:
    """Return the version that the header asks of one of these services, as it is written; None if it asks for none."""
    for entry in headers.get(HEADER, "").split(","):
        service, _, version = entry.strip().partition(" ")
        if service.lower() in services:
            return version.strip().lower()
    return None


def picked(text: str | None, oldest: Version, newest: Version) -> Version:
    """Return the version that is asked for, the oldest if none is; others are refused as Nova and Cinder do it."""
    if text is None:
        return oldest
    if text == "latest":
        return newest
    found = _FORM.fullmatch(text)
    if found is None:
        raise Invalid(f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.")
    version = int(found[1]), int(found[2])
    if not oldest <= version <= newest:
        raise Failure(
            406,
            f"Version {text} is not supported by the API. Minimum is {shown(oldest)} and maximum is {shown(newest)}.",
        )
    return version


def shown(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
