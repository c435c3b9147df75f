"""Who is told what happens to servers. Events are CloudEvents 1.0; their data is what Nova's notifications say."""

from typing import Protocol

import msgspec


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event in CloudEvents' JSON format. `id` stays the same however often it is told; `sequence` orders all."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str  # the server
    time: str
    sequence: str
    datacontenttype: str = "application/json"
    data: msgspec.Raw


class Sink(Protocol):
    """Takes events, one after the other for each server."""

    async def deliver(self, event: CloudEvent) -> None:
        """Return when the receiver has the event. `NotNow`: it may take it later; `Refused`: it never will."""
        ...

    async def close(self) -> None: ...
