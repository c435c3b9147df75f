"""Whether a failover could lose commits is read of the server itself."""

from typing import TYPE_CHECKING

import pytest

from renova.lab.replication import Pair
from renova.store.postgresql import open_postgresql
from renova.store.replication import Replication, of_server

if TYPE_CHECKING:
    from renova.lab.postgresql import PostgreSQL


async def read(url: str) -> Replication:
    database = open_postgresql(url)
    try:
        return await database.read(lambda tx: of_server(tx, database.standing))
    finally:
        database.close()


@pytest.mark.slow
async def test_a_synchronous_standby_makes_it_safe(pair: Pair) -> None:
    pair.up()
    found = await read(pair.url())
    assert (found.kind, found.synchronous, found.trouble) == ("PostgreSQL", True, None)
    assert found.timeline is not None
    assert found.timeline.startswith("0000000")


async def test_without_one_it_is_said_what_is_refused(postgresql_server: "PostgreSQL") -> None:
    found = await read(postgresql_server.url())
    assert found.primary == f"127.0.0.1:{postgresql_server.port}"
    assert not found.synchronous
    assert found.trouble is not None
    assert "proofs of death that rest on leases are refused" in found.trouble
