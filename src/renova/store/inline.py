"""Serves each transaction at once, in the caller's turn of the event loop: for tests and the simulation."""

from collections.abc import Callable
from typing import TypeVar

from renova.model.errors import DatabaseAway
from renova.store.database import Tx
from renova.store.session import TURNS, Session, Trouble, reason

T = TypeVar("T")


class Inline:
    """One connection for all, in one thread."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        for turn in range(TURNS):
            session = self._session
            tx = Tx(session, session.begin())
            try:
                result = fn(tx)
                session.commit()
            except BaseException as error:
                trouble = session.trouble(error) if isinstance(error, Exception) else Trouble.NONE
                session.rollback()
                tx.undone()
                if trouble is Trouble.AGAIN and turn < TURNS - 1:
                    continue
                if isinstance(error, Exception) and trouble is not Trouble.NONE:
                    raise DatabaseAway("the database could not commit", details=reason(error)) from error
                raise
            for call in tx.afterwards:
                call()
            return result
        raise AssertionError("unreachable")

    async def read(self, fn: Callable[[Tx], T]) -> T:
        session = self._session
        tx = Tx(session, session.begin())
        try:
            return fn(tx)
        finally:
            session.rollback()

    def close(self) -> None:
        self._session.close()
