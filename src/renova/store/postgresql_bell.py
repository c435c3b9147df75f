"""Controllers wake each other by LISTEN and NOTIFY: who waits for another's work hears at once that there is some.

Nothing rests on it. Whoever does not hear looks by itself a moment later, and after a lost connection all are woken.
"""

import asyncio
import threading
from collections.abc import Callable

import psycopg
import structlog
from sqlalchemy import text

from renova.store.database import Tx
from renova.store.postgresql_server import Server

log = structlog.get_logger()

LOOK_S = 1.0  # seconds between looks whether to end; and until a lost connection is made anew
_RING = text("SELECT pg_notify('renova', :topic)")


class Bell:
    """One controller's connection for hearing the others."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def ring(self, tx: Tx, topic: str) -> None:
        tx.execute(_RING, {"topic": topic})

    def listen(self, heard: Callable[[str | None], None]) -> None:
        loop = asyncio.get_running_loop()

        def tell(topic: str | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(heard, topic)

        self._thread = threading.Thread(target=self._serve, args=(tell,), name="database-bell", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _serve(self, tell: Callable[[str | None], None]) -> None:
        while not self._closing.is_set():
            try:
                self._hear(tell)
            except psycopg.Error:
                log.info("controllers not heard", exc_info=True)
                self._closing.wait(LOOK_S)

    def _hear(self, tell: Callable[[str | None], None]) -> None:
        with self._server.link() as link:
            link.execute("LISTEN renova")
            tell(None)
            while not self._closing.is_set():
                for news in link.notifies(timeout=LOOK_S):
                    tell(news.payload)
