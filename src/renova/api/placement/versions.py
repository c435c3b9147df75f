"""Placement's microversions: the header `OpenStack-API-Version: placement 1.N`, without which it is 1.0."""

from collections.abc import Mapping

from renova.api.digits import whole
from renova.api.dispatch import Failure
from renova.api.http import NO_VERSION, Version
from renova.api.microversions import HEADER, shown
from renova.model.errors import Invalid

OLDEST: Version = (1, 0)
NEWEST: Version = (1, 39)


class PlacementVersions:
    """Reads and tells the version of a request."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        for each in headers.get(HEADER, "").split(","):
            service, _, version = each.strip().partition(" ")
            if service == "placement":
                return _parsed(version.strip())
        return OLDEST

    def headers(self, version: Version) -> dict[str, str]:
        if version == NO_VERSION:
            return {}
        return {"OpenStack-API-Version": f"placement {shown(version)}", "Vary": "OpenStack-API-Version"}


def _parsed(asked: str) -> Version:
    if asked == "latest":
        return NEWEST
    major, minor = map(whole, asked.partition(".")[::2])
    if major is None or minor is None:
        raise Invalid(f"invalid version string: {asked}")
    version = (major, minor)
    if not OLDEST <= version <= NEWEST:
        raise Failure(406, f"Unacceptable version header: {asked}. Have {shown(OLDEST)} to {shown(NEWEST)}.")
    return version
