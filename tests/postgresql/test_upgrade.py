"""A PostgreSQL database is brought to this release's tables by one controller, while the others wait or go on."""

import asyncio

import pytest
from sqlalchemy import text, update

from renova.model.errors import BadSetup
from renova.store import cluster, upgrade
from renova.store.postgresql import open_postgresql
from renova.store.postgresql_server import Server
from tests.revisions import differences


def test_the_revisions_make_the_tables_that_the_modules_describe(postgresql_url: str) -> None:
    with Server(postgresql_url).engine.connect() as connection:
        connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            upgrade.run_revisions(connection, upgrade.known()[-1])
            assert differences(connection) == []


async def test_controllers_that_start_together_make_the_tables_once(postgresql_url: str) -> None:
    opened = await asyncio.gather(*(asyncio.to_thread(open_postgresql, postgresql_url) for _ in range(3)))
    assert sorted(await asyncio.gather(*(each.transact(cluster.tick) for each in opened))) == [1, 2, 3]
    for database in opened:
        await asyncio.to_thread(database.close)
    with Server(postgresql_url).engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM schema_revision")).scalars().all() == [
            upgrade.known()[-1]
        ]


def test_a_database_of_a_newer_release_is_refused(postgresql_url: str) -> None:
    open_postgresql(postgresql_url).close()
    with Server(postgresql_url).engine.connect() as connection:
        connection.execute(update(upgrade.schema_revision).values(version_num="9999"))
    with pytest.raises(BadSetup, match="newer release of Renova: it is at revision 9999"):
        open_postgresql(postgresql_url)
