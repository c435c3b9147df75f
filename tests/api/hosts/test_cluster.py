"""Hold, eras, proofs and an operator's word, as administrators see and say them."""

import pytest

from renova.hosts import eras
from renova.model.ids import ExecutorId, HostId, ProjectId, UserId
from renova.store import actions, executors, hosts, posts, rights
from renova.store.database import Tx
from tests.api.hosts.test_hosts import SERVER, HostsApi, api, have_hosts
from tests.unit.store.tables import A

assert api, "a fixture"


async def asked(api: HostsApi, method: str, path: str, body: object = None, who: str = "admin") -> tuple[int, dict]:  # type: ignore[type-arg]
    answer = await api.client.request(method, f"/renova/v1{path}", json=body, headers={"X-Auth-Token": api.tokens[who]})
    return answer.status_code, answer.json()


async def test_a_host_is_shown_with_every_proof_and_what_it_owes(api: HostsApi) -> None:
    await have_hosts(api)
    await api.cloud.database.transact(lambda tx: rights.trouble(tx, A, SERVER, "libvirtd is stuck"))
    status, shown = await asked(api, "GET", "/hosts/name-of-host-a")
    assert status == 200
    assert shown["host"]["owes"] == [{"server": SERVER, "below": 2, "trouble": "libvirtd is stuck"}]
    assert [each["says"] for each in shown["host"]["proofs"]] == ["power read as off twice; as good as who reads it"]
    _, listed = await asked(api, "GET", "/proofs")
    assert listed["proofs"] == shown["host"]["proofs"]
    assert (await asked(api, "GET", "/hosts/mars"))[0] == 404


async def test_a_host_that_is_away_is_not_asked_to_clean_up(api: HostsApi) -> None:
    await have_hosts(api)
    status, answer = await asked(api, "POST", "/hosts/name-of-host-a/clean")
    assert status == 409
    assert "not connected" in answer["error"]["message"]


async def test_power_is_believed_again_when_an_operator_says_so(api: HostsApi) -> None:
    await have_hosts(api)
    await api.cloud.database.transact(lambda tx: hosts.change(tx, A, power_barred="it lied"))
    assert (await asked(api, "POST", "/hosts/name-of-host-a/trust-power"))[1]["host"]["power_barred"] is None


async def test_the_cluster_says_which_controllers_it_has_and_who_does_what(api: HostsApi) -> None:
    def begin(tx: Tx) -> None:
        for name in ("one", "two"):
            itself = executors.Controller(name, f"{name}:8774", (f"{name}:8775",), "1.0")
            executors.enlist(tx, ExecutorId(f"executor-{name}"), itself, 5.0)
        posts.take(tx, "notices", ExecutorId("executor-two"))
        posts.take(tx, "duty orphans", ExecutorId("executor-of-none"))

    await api.cloud.database.transact(begin)
    status, shown = await asked(api, "GET", "/status")
    assert status == 200
    one, two = shown["controllers"]
    assert (one["name"], one["api_address"], one["agents_addresses"]) == ("one", "one:8774", ["one:8775"])
    assert (one["release"], one["lease_left_s"], one["holds"]) == ("1.0", 5.0, [])
    assert (two["name"], two["holds"]) == ("two", ["notices"])
    assert shown["database"]["kind"] == "SQLite"
    assert shown["database"]["trouble"] is None


async def test_the_cluster_says_which_actions_wait_for_what(api: HostsApi) -> None:
    def begin(tx: Tx) -> int:
        waiting, ended = (actions.begin(tx, SERVER, f"req-{n}", "reboot", UserId("u"), ProjectId("p")) for n in (1, 2))
        for action in (waiting, ended):
            actions.open_event(tx, action, "compute_reboot_instance", "host-a")
            actions.say(tx, action, "Waiting for up to 300 s: the storage host does not answer")
        actions.close_events(tx, ended, error="it was waited for 300 s")
        return waiting

    waiting = await api.cloud.database.transact(begin)
    _, shown = await asked(api, "GET", "/status")
    [told] = shown["waiting"]
    assert (told["server"], told["action"]) == (SERVER, "reboot")
    assert told["message"] == "Waiting for up to 300 s: the storage host does not answer"
    await api.cloud.database.transact(lambda tx: actions.close_events(tx, waiting))
    assert (await asked(api, "GET", "/status"))[1]["waiting"] == []


async def test_the_cluster_says_why_it_is_on_hold_and_an_operator_begins_the_next_era(api: HostsApi) -> None:
    await have_hosts(api)
    assert (await asked(api, "GET", "/status"))[1]["hold"] is None
    await api.cloud.database.transact(lambda tx: eras.hold(tx, "somebody knows more", 3))
    status, shown = await asked(api, "GET", "/status")
    assert status == 200
    assert "somebody knows more" in shown["hold"]
    status, shown = await asked(api, "POST", "/eras")
    assert (status, shown["era"], shown["restoring"]) == (200, 4, True)
    assert shown["waits_for"] == ["name-of-host-a", "name-of-host-b"], "its death was proven before the loss"
    assert (await asked(api, "POST", f"/servers/{SERVER}/choose", {"host": "name-of-host-a"}))[0] == 409


async def test_a_host_that_nobody_here_knows_is_shown_until_an_operator_dismisses_it(api: HostsApi) -> None:
    await have_hosts(api)
    assert (await asked(api, "GET", "/status"))[1]["strangers"] == []
    await asked(api, "POST", "/eras")
    await api.cloud.database.transact(lambda tx: eras.turn_away(tx, HostId("id-7"), "compute7"))
    _, shown = await asked(api, "GET", "/status")
    assert shown["waits_for"] == ["name-of-host-a", "name-of-host-b", "compute7"]
    [stranger] = shown["strangers"]
    assert (stranger["name"], stranger["id"]) == ("compute7", "id-7")
    assert stranger["since"]
    assert (await asked(api, "POST", "/strangers/compute8/dismiss"))[0] == 404
    status, shown = await asked(api, "POST", "/strangers/compute7/dismiss")
    assert (status, shown["strangers"], shown["waits_for"]) == (200, [], ["name-of-host-a", "name-of-host-b"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/status"),
        ("GET", "/proofs"),
        ("GET", "/hosts/name-of-host-a"),
        ("GET", "/hosts/name-of-host-a/asides"),
        ("POST", "/hosts/name-of-host-a/vouch"),
        ("POST", "/hosts/name-of-host-a/clean"),
        ("POST", "/hosts/name-of-host-a/trust-power"),
        ("POST", "/eras"),
        ("POST", f"/servers/{SERVER}/choose"),
        ("POST", "/strangers/compute7/dismiss"),
    ],
)
async def test_nobody_else_may_see_or_say_anything_of_it(api: HostsApi, method: str, path: str) -> None:
    await have_hosts(api)
    assert (await asked(api, method, path, who="demo"))[0] == 403
