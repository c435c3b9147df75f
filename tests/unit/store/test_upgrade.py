"""A database is brought to this release's tables when it is opened, and one that cannot be is named with what to do."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text, update

from renova.model.clock import SystemClock
from renova.model.errors import BadSetup
from renova.model.ids import NetworkId, ProjectId, SubnetId
from renova.model.network import Subnet
from renova.store import networks, upgrade
from renova.store.database import Tx
from renova.store.schema import metadata
from renova.store.sqlite import bring_up, open_sqlite, sqlite_engine
from tests.databases import open_served
from tests.revisions import differences


@pytest.fixture
def connection() -> Iterator[Connection]:
    with sqlite_engine(None).connect() as connection:
        yield connection


def revision(connection: Connection) -> str | None:
    return connection.execute(select(upgrade.schema_revision.c.version_num)).scalar()


def test_the_revisions_make_the_tables_that_the_modules_describe(connection: Connection) -> None:
    upgrade.run_revisions(connection, upgrade.known()[-1])
    assert differences(connection) == []
    assert revision(connection) == upgrade.known()[-1]


def test_each_revision_follows_the_one_before() -> None:
    assert upgrade.known() == [f"{number:04}" for number in range(1, len(upgrade.known()) + 1)]


def test_a_difference_is_seen(connection: Connection) -> None:
    upgrade.upgrade(connection, "new")
    for change in ("DROP INDEX operations_active", "DROP TABLE posts", "ALTER TABLE quotas ADD COLUMN more TEXT"):
        before = len(differences(connection))
        connection.exec_driver_sql(change)
        assert len(differences(connection)) > before, change


LATER = """
import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = "{before}"


def upgrade() -> None:
    with op.batch_alter_table("networks", recreate="always") as networks:
        networks.add_column(sa.Column("note", sa.Text(), server_default="none"))
"""


def fill(tx: Tx) -> None:
    networks.add_network(tx, NetworkId("n"), ProjectId("p"), "net", shared=False, up=True, mtu=1500, description="")
    subnet = Subnet(
        id=SubnetId("s"),
        name="subnet",
        network=NetworkId("n"),
        project=ProjectId("p"),
        cidr="192.0.2.0/24",
        gateway="192.0.2.1",
        dns=(),
        first="192.0.2.2",
        last="192.0.2.254",
        enable_dhcp=True,
        created_at=tx.now,
        updated_at=tx.now,
    )
    networks.add_subnet(tx, subnet)


async def test_an_older_database_is_changed_and_keeps_what_it_has(tmp_path: Path) -> None:
    """Also where a table has to be made anew, and others refer to it."""
    revisions = tmp_path / "revisions"
    shutil.copytree(upgrade.REVISIONS, revisions)
    before = upgrade.known()[-1]
    number = f"{int(before) + 1:04}"
    (revisions / f"r{number}_later.py").write_text(LATER.format(number=number, before=before))
    database = open_sqlite(tmp_path / "renova.db", SystemClock())
    await database.transact(fill)
    database.close()
    with sqlite_engine(tmp_path / "renova.db").connect() as connection:
        bring_up(connection, tmp_path / "renova.db", revisions)
        found = connection.execute(
            text("SELECT n.note, s.name, version_num FROM networks n, subnets s, schema_revision")
        )
        assert found.all() == [("none", "subnet", number)]


def test_a_new_database_is_at_the_newest_revision(connection: Connection) -> None:
    assert not upgrade.is_current(connection)
    upgrade.upgrade(connection, "new")
    assert differences(connection) == []
    assert upgrade.is_current(connection)


def test_a_database_from_before_revisions_is_taken_over_with_what_it_has(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(insert(metadata.tables["quotas"]).values(project="p", resource="cores", most=7))
    connection.exec_driver_sql("DROP INDEX one_active_operation_a_server")
    connection.exec_driver_sql("DROP TABLE posts")
    upgrade.upgrade(connection, "old")
    assert differences(connection) == []
    assert upgrade.is_current(connection)
    assert connection.execute(select(metadata.tables["quotas"].c.most)).scalars().all() == [7]


def test_a_database_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "renova.db"
    with sqlite_engine(path).connect() as connection, connection.begin():
        upgrade.upgrade(connection, "new")
        connection.execute(update(upgrade.schema_revision).values(version_num="9999"))
    before = path.read_bytes()
    with pytest.raises(BadSetup, match=r"renova\.db was made by a newer release of Renova: it is at revision 9999"):
        open_sqlite(path, SystemClock())
    assert path.read_bytes() == before


def test_a_database_of_an_earlier_release_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "renova.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE quotas (project TEXT PRIMARY KEY)")
    with pytest.raises(BadSetup, match=r"earlier release .* its table quotas has no"):
        open_sqlite(path, SystemClock())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("quotas",)]


async def test_an_opened_database_is_at_the_newest_revision(tmp_path: Path) -> None:
    database = open_served(tmp_path)
    found = await database.read(lambda tx: tx.execute(text("SELECT version_num FROM schema_revision")).scalar())
    database.close()
    assert found == upgrade.known()[-1]
