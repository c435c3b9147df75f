"""Microversions of the Block Storage API: how clients ask for one, and the documents that say which there are."""

import re
from collections.abc import Mapping
from typing import Any

from renova.api.dispatch import Failure
from renova.api.http import NO_VERSION, Call, Reply, Version
from renova.api.root import here
from renova.model.errors import Invalid

OLDEST: Version = (3, 0)
NEWEST: Version = (3, 71)

_HEADER = "openstack-api-version"
_FORM = re.compile(r"([1-9]\d{0,5})\.([1-9]\d{0,5}|0)")


class Microversions:
    """A version a request; 3.0 where none is asked for."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        text = _asked_text(headers)
        if text is None:
            return OLDEST
        if text == "latest":
            return NEWEST
        found = _FORM.fullmatch(text)
        if found is None:
            raise Invalid(f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.")
        version = int(found[1]), int(found[2])
        if not OLDEST <= version <= NEWEST:
            raise Failure(
                406,
                f"Version {text} is not supported by the API. Minimum is {shown(OLDEST)} and maximum is "
                f"{shown(NEWEST)}.",
            )
        return version

    def headers(self, version: Version) -> dict[str, str]:
        vary = {"vary": "OpenStack-API-Version"}
        return vary if version == NO_VERSION else {**vary, _HEADER: f"volume {shown(version)}"}


def _asked_text(headers: Mapping[str, str]) -> str | None:
    for entry in headers.get(_HEADER, "").split(","):
        service, _, version = entry.strip().partition(" ")
        if service.lower() in ("volume", "block-storage"):
            return version.strip().lower()
    return None


def shown(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _document(call: Call) -> dict[str, Any]:
    return {
        "versions": [
            {
                "id": "v3.0",
                "status": "CURRENT",
                "version": shown(NEWEST),
                "min_version": shown(OLDEST),
                "updated": "2023-08-31T00:00:00Z",
                "links": [{"rel": "self", "href": f"{here(call)}/volume/v3/"}],
                "media-types": [
                    {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}
                ],
            }
        ]
    }


async def every(call: Call) -> Reply:
    return Reply(300, _document(call))


async def v3(call: Call) -> Reply:
    return Reply(200, _document(call))
