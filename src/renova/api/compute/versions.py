"""Microversions: how clients ask for one, and the documents by which they find out which there are."""

import re
from collections.abc import Mapping
from typing import Any

from renova.api.dispatch import Failure
from renova.api.http import NO_VERSION, Call, Reply, Version
from renova.api.root import here
from renova.model.errors import Invalid

OLDEST: Version = (2, 1)
NEWEST: Version = (2, 104)

_HEADER = "openstack-api-version"
_LEGACY_HEADER = "x-openstack-nova-api-version"
_FORM = re.compile(r"([1-9]\d{0,5})\.([1-9]\d{0,5}|0)")


class Microversions:
    """A version a request, by either header; 2.1 where none is asked for."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        text = _asked_text(headers)
        if text is None:
            return OLDEST
        if text == "latest":
            return NEWEST
        found = _FORM.fullmatch(text)
        if found is None:
            raise Invalid(
                f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.",
            )
        version = int(found[1]), int(found[2])
        if not OLDEST <= version <= NEWEST:
            raise Failure(
                406,
                f"Version {text} is not supported by the API. Minimum is {shown(OLDEST)} and "
                f"maximum is {shown(NEWEST)}.",
            )
        return version

    def headers(self, version: Version) -> dict[str, str]:
        vary = {"vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version"}
        if version == NO_VERSION:
            return vary
        return {**vary, _HEADER: f"compute {shown(version)}", _LEGACY_HEADER: shown(version)}


class Legacy:
    """API v2, kept for old clients: version 2.1, whatever the headers say."""

    def asked(self, headers: Mapping[str, str]) -> Version:  # noqa: ARG002
        return OLDEST

    def headers(self, version: Version) -> dict[str, str]:  # noqa: ARG002
        return {}


def _asked_text(headers: Mapping[str, str]) -> str | None:
    """Return the version as it is asked for; the header that names the service counts before the older one."""
    for entry in headers.get(_HEADER, "").split(","):
        service, _, version = entry.strip().partition(" ")
        if service.lower() == "compute":
            return version.strip().lower()
    old = headers.get(_LEGACY_HEADER)
    return old.strip().lower() if old is not None else None


def shown(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _document(call: Call, name: str, mount: str, *, current: bool) -> dict[str, Any]:
    return {
        "id": name,
        "status": "CURRENT" if current else "SUPPORTED",
        "version": shown(NEWEST) if current else "",
        "min_version": shown(OLDEST) if current else "",
        "updated": "2013-07-23T11:33:21Z" if current else "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": f"{here(call)}{mount}/"}],
    }


def _detailed(document: dict[str, Any]) -> dict[str, Any]:
    major = document["id"].removeprefix("v").removesuffix(".0")
    media = {"base": "application/json", "type": f"application/vnd.openstack.compute+json;version={major}"}
    described = {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"}
    return {**document, "links": [*document["links"], described], "media-types": [media]}


def _v2(call: Call) -> dict[str, Any]:
    return _document(call, "v2.0", "/compute/v2", current=False)


def _v21(call: Call) -> dict[str, Any]:
    return _document(call, "v2.1", "/compute/v2.1", current=True)


async def every(call: Call) -> Reply:
    return Reply(200, {"versions": [_v2(call), _v21(call)]})


async def v2(call: Call) -> Reply:
    return Reply(200, {"version": _detailed(_v2(call))})


async def v21(call: Call) -> Reply:
    return Reply(200, {"version": _detailed(_v21(call))})
