"""Microversions of the Instance HA API, and the documents that say which there are."""

from collections.abc import Mapping
from typing import Any

from renova.api.http import NO_VERSION, Call, Reply, Version
from renova.api.microversions import HEADER, asked_text, picked, shown
from renova.api.root import here

OLDEST: Version = (1, 0)
NEWEST: Version = (1, 3)

WORKFLOWS: Version = (1, 1)  # what came of a notification is shown with it
ENABLED: Version = (1, 2)  # segments can be disabled
VMOVES: Version = (1, 3)


class Microversions:
    """A version a request; 1.0 where none is asked for."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        return picked(asked_text(headers, "instance-ha"), OLDEST, NEWEST)

    def headers(self, version: Version) -> dict[str, str]:
        vary = {"vary": "OpenStack-API-Version"}
        return vary if version == NO_VERSION else {**vary, HEADER: f"instance-ha {shown(version)}"}


def _document(call: Call) -> dict[str, Any]:
    return {
        "id": "v1.0",
        "status": "CURRENT",
        "version": shown(NEWEST),
        "min_version": shown(OLDEST),
        "updated": "2016-07-01T11:33:21Z",
        "links": [{"rel": "self", "href": f"{here(call)}/instance-ha/v1/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.masakari+json;version=1"}],
    }


async def every(call: Call) -> Reply:
    return Reply(200, {"versions": [_document(call)]})


async def v1(call: Call) -> Reply:
    return Reply(200, {"version": _document(call)})
