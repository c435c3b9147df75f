"""A host is drained, looked at meanwhile and taken back, by administrators only."""

from renova.model.host import Role
from renova.store import drains, hosts
from renova.store.database import Tx
from tests.api.hosts.test_cluster import asked
from tests.api.hosts.test_hosts import HostsApi, api, have_hosts
from tests.unit.store.tables import A, B

assert api, "a fixture"
PATH = "/hosts/name-of-host-b/drain"


async def test_a_host_is_drained_and_that_is_taken_back(api: HostsApi) -> None:
    await have_hosts(api)
    status, shown = await asked(api, "PUT", PATH, {"reason": "new fans"})
    assert status == 200
    assert shown["drain"].pop("began_at")
    assert shown["drain"] == {
        "host": "name-of-host-b",
        "state": "drained",
        "who": "admin",
        "heard": False,
        "moved": 0,
        "moving": [],
        "waiting": [],
        "staying": [],
    }
    assert (await asked(api, "PUT", PATH, {"reason": "again"}))[0] == 200
    host = await api.cloud.database.read(lambda tx: hosts.get(tx, B))
    assert host is not None
    assert (host.disabled, host.disabled_reason) == (True, "new fans")
    assert (await asked(api, "GET", PATH))[0] == 200
    gone = await api.client.delete(f"/renova/v1{PATH}", headers={"X-Auth-Token": api.tokens["admin"]})
    assert gone.status_code == 204
    assert (await asked(api, "GET", PATH))[0] == 404
    assert (await asked(api, "DELETE", PATH))[0] == 409


async def test_what_cannot_be_drained_is_refused_and_changes_nothing(api: HostsApi) -> None:
    await have_hosts(api)
    await api.cloud.database.transact(lambda tx: hosts.change(tx, A, role=Role.STORAGE))

    def wishes(tx: Tx) -> int:
        return len(drains.every(tx))

    for who, path, body, status in (
        ("demo", PATH, None, 403),
        ("admin", "/hosts/mars/drain", None, 404),
        ("admin", PATH, {"reason": ""}, 400),
        ("admin", PATH, {"why": "x"}, 400),
        ("admin", "/hosts/name-of-host-a/drain", None, 409),
    ):
        assert (await asked(api, "PUT", path, body, who))[0] == status, path
    assert await api.cloud.database.read(wishes) == 0
