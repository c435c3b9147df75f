"""Microversions of the Block Storage API: how clients ask for one, and the documents that say which there are."""

from collections.abc import Mapping
from typing import Any

from renova.api.http import NO_VERSION, Call, Reply, Version
from renova.api.microversions import HEADER, asked_text, picked, shown
from renova.api.root import here

OLDEST: Version = (3, 0)
NEWEST: Version = (3, 71)


class Microversions:
    """A version a request; 3.0 where none is asked for."""

    def asked(self, headers: Mapping[str, str]) -> Version:
        return picked(asked_text(headers, "volume", "block-storage"), OLDEST, NEWEST)

    def headers(self, version: Version) -> dict[str, str]:
        vary = {"vary": "OpenStack-API-Version"}
        return vary if version == NO_VERSION else {**vary, HEADER: f"volume {shown(version)}"}


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
