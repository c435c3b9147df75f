"""Brings a database to this release's tables, when it is opened and while nobody else does.

A new database is made at once, an older one is changed by the revisions that it has not seen (Alembic's, in
`revisions`), all in one transaction. Other controllers of the last release may go on meanwhile: within a release,
revisions only add (docs/decisions/0016).
"""

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, delete, insert, inspect, select

from renova.model.errors import BadSetup
from renova.store.schema import metadata

REVISIONS = Path(__file__).parent / "revisions"

# Which revision a database is at, as Alembic keeps it. Not among the tables of the cloud: no backup restores it alone.
schema_revision = Table("schema_revision", MetaData(), Column("version_num", String(32), primary_key=True))


def known(revisions: Path = REVISIONS) -> list[str]:
    """List this release's revisions, oldest first."""
    return sorted(path.stem[1:5] for path in revisions.glob("r[0-9][0-9][0-9][0-9]_*.py"))


def is_current(connection: Connection, revisions: Path = REVISIONS) -> bool:
    """Say whether the database is at this release's newest revision already."""
    return inspect(connection).has_table(schema_revision.name) and _revision(connection) == known(revisions)[-1]


def upgrade(connection: Connection, name: str, revisions: Path = REVISIONS) -> None:
    """Have all tables be this release's, in the caller's transaction; the caller keeps others from doing the same.

    `name` is the database's, for people. `BadSetup` when it is of a newer release, or older than any revision.
    """
    here = inspect(connection)
    at = _revision(connection) if here.has_table(schema_revision.name) else None
    newest = known(revisions)[-1]
    if at is not None and at not in known(revisions):
        raise BadSetup(
            f"The database {name} was made by a newer release of Renova: it is at revision {at}, this release knows "
            f"those up to {newest}. Use that release, or a newer one."
        )
    if at is None:
        from_before = not metadata.tables.keys().isdisjoint(here.get_table_names())  # there were revisions
        metadata.create_all(connection, checkfirst=from_before)
        if from_before:
            demand_all_columns(connection, name)
            _have_all_indexes(connection)
        _stamp(connection, newest)
    elif at != newest:
        run_revisions(connection, newest, revisions)


def run_revisions(connection: Connection, target: str, revisions: Path = REVISIONS) -> None:
    """Change the tables by all revisions up to this one that the database has not seen."""
    from alembic.config import Config  # noqa: PLC0415  (seldom needed, and slow to import)
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415  (likewise)
    from alembic.script import ScriptDirectory  # noqa: PLC0415  (likewise)

    script = ScriptDirectory(str(revisions), version_locations=[str(revisions)])
    environment = EnvironmentContext(
        Config(), script, fn=lambda at, _context: script._upgrade_revs(target, at), destination_rev=target
    )
    with environment:
        environment.configure(connection=connection, version_table=schema_revision.name)
        environment.run_migrations()


def demand_all_columns(connection: Connection, name: str) -> None:
    """Raise `BadSetup` if a table was made by a release that knew less of it: better now than in some request."""
    here = inspect(connection)
    for table in metadata.sorted_tables:
        missing = {column.name for column in table.columns} - {each["name"] for each in here.get_columns(table.name)}
        if missing:
            raise BadSetup(
                f"The database {name} was made by an earlier release of Renova: its table {table.name} has no "
                f"{', '.join(sorted(missing))}. Go on with that release, or begin a new cloud with another database."
            )


def _have_all_indexes(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _revision(connection: Connection) -> str | None:
    return connection.execute(select(schema_revision.c.version_num)).scalar()


def _stamp(connection: Connection, revision: str) -> None:
    schema_revision.create(connection, checkfirst=True)
    connection.execute(delete(schema_revision))
    connection.execute(insert(schema_revision).values(version_num=revision))
