"""Microversions: how clients ask for one, and the documents by which they find out which there are."""

from collections.abc import Mapping
from typing import Any

from renova.api.http import NO_VERSION, Call, Reply, Version
from renova.api.microversions import HEADER, asked_text, picked, shown
from renova.api.root import here

OLDEST: Version = (2, 1)
NEWEST: Version = (2, 104)

_LEGACY_HEADER = "x-openstack-nova-api-version"


class Microversions:
    """A version a request, by either header, of which the one that names the service counts; 2.1 where none is."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        text = asked_text(headers, "compute")
        if text is None and (former := headers.get(_LEGACY_HEADER)) is not None:
            text = former.strip().lower()
        return picked(text, OLDEST, NEWEST)

    def headers(self, version: Version) -> dict[str, str]:
        vary = {"vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version"}
        if version == NO_VERSION:
            return vary
        return {**vary, HEADER: f"compute {shown(version)}", _LEGACY_HEADER: shown(version)}


class Legacy:
    """API v2, kept for old clients: version 2.1, whatever the headers say."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        return OLDEST

    def headers(self, version: Version) -> dict[str, str]:
        return {}


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
