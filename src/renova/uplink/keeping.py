"""Keeps a connection to one controller: dialled, conversed over, and dialled anew whenever it ends."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from renova.model.errors import BadSetup, Broken, NotNow, Refused
from renova.uplink.connection import Dialer
from renova.uplink.controllers import KnownControllers
from renova.uplink.pauses import Pauses
from renova.uplink.session import Session, Sessions

log = structlog.get_logger()

S = TypeVar("S", bound=Session)


async def keep_connected(
    dialer: Dialer,
    known: KnownControllers,
    sessions: Sessions[S],
    call: Callable[[Dialer], Awaitable[S]],
    converse: Callable[[S], Awaitable[None]],
    pauses: Pauses,
) -> None:
    """Serve this controller for as long as it is wanted.

    `call` opens a connection, or says why it cannot; `converse` serves it until it ends.
    """
    where = log.bind(controller=dialer.address)
    last_reason, controller = "", ""
    while known.wanted(dialer.address):
        if controller and sessions.reach(controller):
            # It is reached by another of its addresses. A second connection would end that one.
            await pauses.pause()
            continue
        session: S | None = None
        try:
            session = await call(dialer)
            await converse(session)
            reason = "the controller ended the connection"
        except (NotNow, BadSetup, Refused) as error:
            reason = str(error)
        except Broken as error:
            reason = str(error)
            where.error("connection ended for a fault", reason=reason)
        except Exception as error:  # noqa: BLE001  (a fault here must not take the other connections along)
            reason = str(error) or type(error).__name__
            where.exception("connection failed")
        if session is not None and session.welcomed:
            where.warning("controller lost", reason=reason)
            controller = session.controller
            pauses.reset()
        elif reason != last_reason:
            where.warning("controller not reached", reason=reason)
        last_reason = reason
        await pauses.pause()
