"""The database is slow, away and full, loses commits and their answers, fails over, and is restored."""

import asyncio
from functools import partial

from renova.hosts import eras
from renova.simulation.database import Hitch
from renova.simulation.fault_kinds import targets
from renova.simulation.faults import Kind, Striking
from renova.store import cluster
from renova.store.database import Tx

OPERATOR_LOOKS = 60  # once a second, after a database was restored


async def slow(striking: Striking) -> None:
    data = striking.world.data
    data.slow_s = striking.chance.uniform(0.05, 3.0)
    striking.fired()
    await striking.wait(2.0, 15.0)
    data.slow_s = 0.0
    striking.mended()


async def away(striking: Striking, *, silent: bool) -> None:
    data = striking.world.data
    data.go_away(silent=silent)
    striking.fired()
    await striking.wait_either((0.2, 3.0), (5.0, 25.0), briefly=0.7)
    data.come_back()
    striking.mended()


async def away_for_one(striking: Striking) -> None:
    link = striking.world.link_of(striking.target)
    link.go_away()
    striking.fired()
    await striking.wait_either((0.2, 3.0), (5.0, 20.0))
    link.come_back()
    striking.mended()


async def drop_connections(striking: Striking) -> None:
    striking.world.data.drop_all()
    striking.fired()


async def fill_disk(striking: Striking) -> None:
    data = striking.world.data
    data.full += 1
    striking.fired()
    await striking.wait(0.2, 10.0)
    data.full -= 1
    striking.mended()


async def hitch(striking: Striking, hitch: Hitch) -> None:
    struck = asyncio.get_running_loop().create_future()

    def strike() -> None:
        striking.fired()
        struck.set_result(None)

    striking.world.data.hitches.append((hitch, strike))
    await struck


async def fail_over(striking: Striking) -> None:
    data = striking.world.data
    data.go_away(silent=striking.often(0.5))
    data.promote()
    striking.fired()
    await striking.wait(0.5, 13.0)
    data.come_back()
    striking.mended()


# --- databases that lose commits: on hold until an operator says that this is the database to go on with ---


async def fail_over_and_lose(striking: Striking) -> None:
    data = striking.world.data
    data.lag()
    before = data.commits
    await striking.wait(0.05, 3.0)
    if data.commits == before:
        data.catch_up()
        return
    data.go_away()
    data.promote()
    striking.fired(f"{data.commits - before} commits")
    await striking.wait(0.5, 13.0)
    data.come_back()
    await _say_restored(striking, after=striking.chance.uniform(0.0, 30.0))
    await _see_it_go_on(striking)
    striking.mended()


async def restore(striking: Striking, *, said: bool) -> None:
    data = striking.world.data
    backup, before = data.back_up(), data.commits
    await striking.wait(5.0, 60.0)
    data.go_away()
    data.restore(backup)
    backup.close()
    striking.fired(f"{data.commits - before} commits")
    await striking.wait(0.5, 10.0)
    if said:
        await _say_restored(striking, after=0.0)
    data.come_back()
    if not said:
        await _say_restored(striking, after=striking.chance.uniform(10.0, 60.0))
    await _see_it_go_on(striking)
    striking.mended()


async def _say_restored(striking: Striking, *, after: float) -> None:
    """Have the operator say `renova database restored`."""
    await asyncio.sleep(after)
    era = await striking.world.database.transact(lambda tx: eras.begin(tx, "operator"))
    striking.world.tell(f"the operator goes on with this database: era {era}")


async def _see_it_go_on(striking: Striking) -> None:
    """Have the operator look whether the hold ends, and say so once more if an era of this number was lost, too.

    Servers that run on several hosts, as after a power controller's lie, the operator leaves on the first.
    """
    for _ in range(OPERATOR_LOOKS):
        await asyncio.sleep(1.0)
        standing = await striking.world.database.read(cluster.get)
        if standing.hold is None:
            return
        if not standing.restoring:
            await _say_restored(striking, after=0.0)
        await striking.world.database.transact(_choose)


def _choose(tx: Tx) -> None:
    for server, names in eras.waiting(tx).contested.items():
        eras.choose(tx, server, names[0])


KINDS = (
    Kind("database slow", targets.database, slow),
    Kind("database away", targets.database, partial(away, silent=False), 0.5),
    Kind("database silent", targets.database, partial(away, silent=True), 0.5),
    Kind("database away for one controller", targets.controllers, away_for_one),
    Kind("connections to the database lost", targets.database, drop_connections),
    Kind("disk of the database full", targets.database, fill_disk, 0.5),
    Kind("commit in another's way", targets.commits, partial(hitch, hitch=Hitch.CONFLICT), 4.0),
    Kind("commit lost", targets.commits, partial(hitch, hitch=Hitch.LOST), 4.0),
    Kind("commit's answer lost", targets.commits, partial(hitch, hitch=Hitch.UNHEARD), 4.0),
    Kind("database fails over, and loses nothing", targets.database, fail_over, 0.5),
    Kind("database fails over, and loses its last commits", targets.database, fail_over_and_lose, 0.1),
    Kind("older database restored, as the operator said", targets.database, partial(restore, said=True), 0.1),
    Kind("older database restored, and the operator says so late", targets.database, partial(restore, said=False), 0.1),
)
