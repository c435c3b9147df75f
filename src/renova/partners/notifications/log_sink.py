"""Tells events to the controller's log, for those who collect logs anyway."""

import msgspec
import structlog

from renova.partners.notifications import CloudEvent

log = structlog.get_logger()


class LogSink:
    """One line an event."""

    async def deliver(self, event: CloudEvent) -> None:
        data = msgspec.json.decode(event.data)
        log.info("notice", id=event.id, type=event.type, subject=event.subject, sequence=event.sequence, data=data)

    async def close(self) -> None:
        pass
