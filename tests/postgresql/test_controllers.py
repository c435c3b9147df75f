"""Several controllers on one PostgreSQL: each sees all that was committed before it, and none waits for ever."""

import asyncio
import threading
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, MetaData, String, Table, bindparam, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from renova.model.errors import Invalid, NotNow
from renova.model.ids import HostId
from renova.store import cluster, images, keypairs
from renova.store.database import Database, Tx
from renova.store.picture import Picture
from renova.store.postgresql import open_postgresql
from renova.store.postgresql_server import IDLE_S, LOCK_S
from tests.unit.store.test_placement import provide

LIMIT_S = 60.0


@pytest.fixture
async def controllers(postgresql_url: str) -> AsyncIterator[tuple[Database, Database]]:
    one = await asyncio.to_thread(open_postgresql, postgresql_url)
    other = await asyncio.to_thread(open_postgresql, postgresql_url)
    yield one, other
    await asyncio.to_thread(one.close)
    await asyncio.to_thread(other.close)


async def test_controllers_that_count_together_count_right_and_none_is_refused(
    controllers: tuple[Database, Database],
) -> None:
    counts = await asyncio.gather(*(each.transact(cluster.tick) for _ in range(200) for each in controllers))
    assert sorted(counts) == list(range(1, 401))


async def test_a_picture_misses_nothing_that_another_controller_changes(controllers: tuple[Database, Database]) -> None:
    """Each sees by the number of the last change what it has to read anew: numbers are committed in their order."""
    pictures = [Picture() for _ in controllers]

    def change(picture: Picture, number: int) -> Any:
        def work(tx: Tx) -> None:
            picture.refresh(tx)
            provide(tx, HostId(f"host-{number}"), VCPU=number + 1)

        return work

    await asyncio.gather(
        *(
            database.transact(change(picture, 2 * number + who))
            for number in range(60)
            for who, (database, picture) in enumerate(zip(controllers, pictures, strict=True))
        )
    )
    whole = Picture()
    await controllers[0].transact(whole.refresh)
    assert len(whole.views) == 120
    for database, picture in zip(controllers, pictures, strict=True):
        await database.transact(picture.refresh)
        assert picture.views == whole.views


async def test_a_controller_frozen_within_a_transaction_keeps_the_others_waiting_for_a_moment_only(
    controllers: tuple[Database, Database],
) -> None:
    frozen, other = controllers
    thaw, begun = threading.Event(), threading.Event()

    def freeze(tx: Tx) -> int:
        count = cluster.tick(tx)
        begun.set()
        assert thaw.wait(LIMIT_S)
        return count

    job = asyncio.ensure_future(frozen.transact(freeze))
    assert await asyncio.to_thread(begun.wait, LIMIT_S)
    began = monotonic()
    assert await other.transact(cluster.tick) == 1
    assert monotonic() - began < IDLE_S + LOCK_S
    thaw.set()
    # What it had begun was undone, and is done anew over another connection.
    assert await job == 2
    assert frozen.standing.generation > 1


@pytest.mark.parametrize("value", ["NUL \0 here", "half a \ud800 character"])
@pytest.mark.parametrize("times", [1, 3])
async def test_text_that_cannot_be_kept_is_the_users_mistake(
    controllers: tuple[Database, Database], value: str, times: int
) -> None:
    database = controllers[0]
    find = select(keypairs.keypairs.c.serial).where(keypairs.keypairs.c.name == bindparam("wanted"))
    for _ in range(times):
        for ask in (database.read, database.transact):
            with pytest.raises(Invalid, match="cannot be kept"):
                await ask(lambda tx: tx.execute(find, {"wanted": value}))


@pytest.mark.parametrize("times", [1, 3])
async def test_numbers_beyond_64_bits_are_the_users_mistake(controllers: tuple[Database, Database], times: int) -> None:
    find = select(images.images.c.id).where(images.images.c.size == bindparam("wanted"))
    for _ in range(times):
        with pytest.raises(Invalid, match="cannot be kept"):
            await controllers[0].read(lambda tx: tx.execute(find, {"wanted": 2**63}))
    assert not await controllers[0].read(lambda tx: tx.execute(find, {"wanted": 2**63 - 1}).all())


async def test_an_error_repeats_no_values_in_any_of_its_causes(controllers: tuple[Database, Database]) -> None:
    things = Table("things", MetaData(), Column("name", String(10), primary_key=True))
    await controllers[0].transact(lambda tx: tx.execute(CreateTable(things)))
    add = insert(things)

    def twice(tx: Tx) -> None:
        for _ in range(2):
            tx.execute(add, {"name": "a secret"})

    for _ in range(3):  # new, and kept
        with pytest.raises(IntegrityError) as refused:
            await controllers[0].transact(twice)
        error: BaseException | None = refused.value
        while error is not None:
            assert "a secret" not in str(error)
            error = error.__cause__ or error.__context__


async def test_what_is_committed_is_on_the_disk_whatever_the_operators_default(
    postgresql_url: str, controllers: tuple[Database, Database]
) -> None:
    show = text("SHOW synchronous_commit")
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        name = connection.info.dbname
        for default, expected in (("off", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")):
            connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {default}".encode())
            database = await asyncio.to_thread(open_postgresql, postgresql_url)
            assert await database.transact(lambda tx: tx.execute(show).scalar()) == expected
            await asyncio.to_thread(database.close)


async def test_a_transaction_that_the_database_undid_for_another_runs_again(
    postgresql_url: str, controllers: tuple[Database, Database]
) -> None:
    """Somebody who takes no turn, say an operator with psql, may be in the way of a serializable transaction."""
    database = controllers[0]
    await database.transact(cluster.tick)
    runs: list[int] = []
    with psycopg.connect(postgresql_url, autocommit=True) as operator:

        def work(tx: Tx) -> int:
            found = cluster.get(tx).tick
            runs.append(found)
            if len(runs) == 1:
                operator.execute("UPDATE cluster SET tick = 100")
            return cluster.tick(tx)

        assert await database.transact(work) == 101
    assert runs == [1, 100]


async def test_one_that_is_always_in_the_way_is_for_later(
    postgresql_url: str, controllers: tuple[Database, Database]
) -> None:
    database = controllers[0]
    await database.transact(cluster.tick)
    with psycopg.connect(postgresql_url, autocommit=True) as operator:

        def work(tx: Tx) -> int:
            cluster.get(tx)
            operator.execute("UPDATE cluster SET tick = tick + 1")
            return cluster.tick(tx)

        with pytest.raises(NotNow):
            await database.transact(work)
    assert await database.transact(cluster.tick) > 1
