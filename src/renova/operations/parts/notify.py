"""Telling what happens to servers, with Nova's names: written in the transaction of what is told (store.notices).

A story calls `notify` where Nova sends a notification. `instance.update` needs no call: every changed state of a
server sends it (`watch_states`). With notifications off, nothing is read and nothing made.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from renova.engine.journal import Held
from renova.engine.operation import Failure
from renova.model.ids import ImageId, ServerId
from renova.model.server import Server
from renova.operations.cloud import Cloud
from renova.operations.parts import legacy_notices, versioned_notices
from renova.operations.parts.notice import Doer, Notice, Period
from renova.store import actions, operations, servers
from renova.store.database import Tx

CLUSTER = ServerId("cluster")  # the subject of what is no server's affair


def notify(
    cloud: Cloud,
    tx: Tx,
    server_id: ServerId,
    event: str,
    failure: Failure | None = None,
    *,
    host: str | None = None,
    image: tuple[ImageId | None, Mapping[str, str]] | None = None,
    snapshot: str | None = None,
    volume: str | None = None,
) -> None:
    """Tell an event of Nova's, such as `instance.reboot.start`, about the server as it is at this moment.

    `host`: where it happens, if not on the server's own host. `image`: the one it had, if not the one it has.
    `snapshot`: the image that is made of it. `volume`: the one that comes or goes.
    """
    if cloud.notices is None:
        return
    server = servers.get(tx, server_id, deleted=True)
    if server is None:
        return
    if image is not None:
        server = msgspec.structs.replace(server, image=image[0], image_properties=dict(image[1]))
    _put(cloud, tx, Notice(event, server, failure=failure, host=host, snapshot=snapshot, volume=volume))


def notify_operators(cloud: Cloud, tx: Tx, event: str, facts: Mapping[str, object]) -> None:
    """Tell an event of the cluster as a whole, of which Nova has none: its subject is "cluster"."""
    if cloud.notices is None:
        return
    message = {
        "event_type": event,
        "publisher_id": f"renova:{cloud.settings.name}",
        "priority": "WARN",
        "payload": facts,
    }
    cloud.notices.put(tx, CLUSTER, event, msgspec.json.encode(message))


def watch_states(cloud: Cloud) -> None:
    """Have every changed state of a server told, as long as this cloud's controller lives."""

    def tell(tx: Tx, before: Server | None, now: Server) -> None:
        _put(cloud, tx, Notice("instance.update", now, before=before))

    cloud.database.watch = tell if cloud.notices is not None else None


def _put(cloud: Cloud, tx: Tx, notice: Notice) -> None:
    under_way = operations.active(tx, notice.server.id)
    # At the end of the transaction, for only then a request that is being accepted is written down. But what is under
    # way is looked for now: at the end, another operation may follow it.
    tx.last(lambda: _write(cloud, tx, notice, under_way))


def _write(cloud: Cloud, tx: Tx, notice: Notice, under_way: Held | None) -> None:
    settings, outbox = cloud.settings, cloud.notices
    assert outbox is not None
    full = msgspec.structs.replace(
        notice, doer=_doer(tx, notice.server.id, under_way), period=_period(tx.now), controller=settings.controller_name
    )
    if settings.notification_format != "legacy":
        outbox.put(tx, full.server.id, full.event, msgspec.json.encode(versioned_notices.message(full)))
    if settings.notification_format != "versioned":
        name = legacy_notices.event_type(full.event)
        outbox.put(tx, full.server.id, name, msgspec.json.encode(legacy_notices.message(full)))


def _doer(tx: Tx, server: ServerId, under_way: Held | None) -> Doer | None:
    """Return who asked for what is being done to the server, or has just been accepted; None: nobody did."""
    newest = actions.newest(tx, server)
    if newest is not None and newest.started_at == tx.now:
        action = newest
    elif under_way is not None:
        action = actions.get(tx, under_way.action)
    else:
        return None
    return Doer(action.request, action.user, action.project)


def _period(now: str) -> Period:
    """Return the audit period that is not over yet: the calendar month, Nova's default."""
    moment = datetime.fromisoformat(f"{now}+00:00")
    return Period(moment.strftime("%Y-%m-01T00:00:00.000000"), now)
