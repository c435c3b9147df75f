"""Servers are found by the hosts that they live on, however many hosts are asked about."""

from functools import partial

from renova.model.group import GroupPolicy, ServerGroup
from renova.model.ids import GroupId, HostId, ServerId
from renova.model.place import Place
from renova.model.server import VmState
from renova.store import rights, server_groups, servers
from renova.store.residents import AT_ONCE, residents

from .tables import ONE, PROJECT, TWO, USER, A, B, Tables, add_host, add_server, prove

THREE, FOUR = ServerId("server-3"), ServerId("server-4")


def test_whoever_lives_on_a_host_or_may_run_there_is_found_once(tables: Tables) -> None:
    for host in (A, B):
        tables.do(partial(add_host, host=host))
    tables.do(lambda tx: add_server(tx, ONE, host=A))
    tables.do(lambda tx: rights.grant(tx, ONE, A))
    tables.do(lambda tx: prove(tx, A))
    tables.do(lambda tx: rights.grant(tx, ONE, B))
    tables.do(lambda tx: add_server(tx, TWO, host=B))
    tables.do(lambda tx: add_server(tx, THREE))
    tables.do(lambda tx: add_server(tx, FOUR, host=A, vm_state=VmState.BUILDING))
    one, two, four = Place(ONE, A, B), Place(TWO, B, None), Place(FOUR, None, None)
    assert [each.place for each in tables.do(lambda tx: residents(tx, [A]))] == [one, four]
    assert [each.place for each in tables.do(lambda tx: residents(tx, [B]))] == [one, two]
    assert [each.place for each in tables.do(lambda tx: residents(tx, None))] == [one, two, four]
    many = [A, *(HostId(f"none-{nth}") for nth in range(2 * AT_ONCE)), B]
    found = tables.do(lambda tx: residents(tx, many))
    assert [each.place for each in found] == [one, two, four]
    assert found[1].server == tables.do(lambda tx: servers.get(tx, TWO))


def test_groups_are_read_with_the_places_of_their_servers(tables: Tables) -> None:
    group = ServerGroup(id=GroupId("g"), project=PROJECT, user=USER, name="g", policy=GroupPolicy.AFFINITY)
    empty = ServerGroup(id=GroupId("e"), project=PROJECT, user=USER, name="e", policy=GroupPolicy.AFFINITY)
    for each in (group, empty):
        tables.do(partial(server_groups.add, group=each))
    tables.do(lambda tx: add_host(tx, A))
    tables.do(lambda tx: add_server(tx, TWO, host=A, group=group.id))
    tables.do(lambda tx: add_server(tx, ONE, group=group.id))
    tables.do(lambda tx: add_server(tx, THREE, host=A, group=group.id))
    tables.do(lambda tx: servers.change(tx, THREE, deleted=True))
    found = tables.do(lambda tx: server_groups.with_places(tx, [group.id, empty.id, GroupId("none")]))
    assert {of: places for of, (_, places) in found.items()} == {
        "g": tables.do(lambda tx: server_groups.places(tx, group.id)),
        "e": [],
    }
    assert [place.server for place in found[group.id][1]] == [TWO, ONE]
    assert found[group.id][0].policy is GroupPolicy.AFFINITY
