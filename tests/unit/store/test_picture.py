"""A picture of all providers is what the database has, also when the database has lost some of it."""

from renova.store.database import Standing, Tx
from renova.store.picture import Picture

from .tables import A, B, C, Tables
from .test_placement import provide


def test_a_picture_forgets_what_a_failover_lost_and_sees_what_got_its_numbers(tables: Tables) -> None:
    standing = Standing()
    picture = Picture(lambda: standing)

    def lose(tx: Tx) -> None:
        tables.do(lambda tx: provide(tx, B, VCPU=4))
        tables.do(picture.refresh)
        raise _Lost

    tables.do(lambda tx: provide(tx, A, VCPU=2))
    try:
        tables.do(lose)
    except _Lost:
        pass
    # Another change, by the number that the lost one had.
    tables.do(lambda tx: provide(tx, C, VCPU=8))
    standing = Standing(2, "another timeline")
    tables.do(picture.refresh)
    assert picture.views.keys() == {A, C}


class _Lost(Exception):
    """What happened since is undone, and nobody was told."""
