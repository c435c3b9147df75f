"""Administrators see hosts as services and hypervisors, take them out of use, and see what moved from them."""

from typing import Any

import pytest

from renova.api.compute import paging
from renova.model.host import Host
from renova.model.ids import HostId, ServerId
from renova.store import actions, hosts, keypairs, migrations, rights
from renova.store.database import Tx
from renova.store.keypairs import StoredKey
from renova.store.placement import claims, inventories

from .compute_cloud import ComputeApi


async def row(api: ComputeApi, host: HostId) -> Host:
    found = await api.cloud.database.read(lambda tx: hosts.get(tx, host))
    assert found is not None
    return found


async def test_services_are_listed_as_their_microversion_has_them(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    await api.have_host("compute2", alive=False)
    old = (await api.got("admin", "GET /os-services"))["services"]
    assert old[0] == {
        "id": 1,
        "binary": "nova-compute",
        "host": "compute1",
        "zone": "nova",
        "status": "enabled",
        "state": "up",
        "updated_at": "2026-01-02T03:04:05.000000",
        "disabled_reason": None,
    }
    assert old[1]["state"] == "down"
    assert "forced_down" in (await api.got("admin", "GET /os-services", version="2.11"))["services"][0]
    assert (await api.got("admin", "GET /os-services", version="2.53"))["services"][0]["id"] == host
    for query, amount in (("host=compute2", 1), ("binary=nova-compute", 2), ("binary=nova-api", 0)):
        assert len((await api.got("admin", f"GET /os-services?{query}", version="2.75"))["services"]) == amount
    await api.refused("demo", "GET /os-services", 403)


async def test_a_service_is_disabled_and_enabled(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    wanted = {"status": "disabled", "disabled_reason": "repair"}
    shown = (await api.got("admin", f"PUT /os-services/{host}", wanted, "2.53"))["service"]
    assert (shown["status"], shown["disabled_reason"], shown["state"]) == ("disabled", "repair", "up")
    assert (await row(api, host)).disabled
    shown = (await api.got("admin", f"PUT /os-services/{host}", {"status": "enabled"}, "2.53"))["service"]
    assert (shown["status"], shown["disabled_reason"]) == ("enabled", None)


async def test_a_service_is_forced_down_and_up(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    shown = (await api.got("admin", f"PUT /os-services/{host}", {"forced_down": "true"}, "2.53"))["service"]
    assert (shown["forced_down"], shown["state"]) == (True, "down")
    shown = (await api.got("admin", f"PUT /os-services/{host}", {"forced_down": False}, "2.53"))["service"]
    assert (shown["forced_down"], shown["state"]) == (False, "up")


async def test_a_host_that_owes_a_clean_up_stays_forced_down(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    await have_migration(api, host, "done")
    await api.got("admin", f"PUT /os-services/{host}", {"forced_down": True}, "2.53")
    message = await api.refused("admin", f"PUT /os-services/{host}", 400, {"forced_down": False}, "2.53")
    assert "not yet cleaned up" in message
    assert (await row(api, host)).forced_down


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"disabled_reason": "x"}, 400),
        ({"status": "enabled", "disabled_reason": "x"}, 400),
        ({"status": "asleep"}, 400),
        ({"forced_down": "perhaps"}, 400),
        ({"colour": "red"}, 400),
    ],
)
async def test_a_wrong_change_of_a_service_is_refused(api: ComputeApi, body: Any, status: int) -> None:
    host = await api.have_host("compute1")
    await api.refused("admin", f"PUT /os-services/{host}", status, body, "2.53")
    await api.refused("admin", "PUT /os-services/x", 400, {"status": "enabled"}, "2.53")
    missing = "0d7c1e5c-94a5-4d4a-9d5c-0bd4c1a1a9a1"
    await api.refused("admin", f"PUT /os-services/{missing}", 404, {"status": "enabled"}, "2.53")
    await api.refused("demo", f"PUT /os-services/{host}", 403, {"status": "enabled"}, "2.53")


async def test_f5_who_disables_a_service_or_forces_it_down_is_noted_until_it_is_taken_back(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    await api.got("admin", f"PUT /os-services/{host}", {"status": "disabled", "forced_down": True}, "2.53")
    noted = await row(api, host)
    assert (noted.disabled_by, noted.forced_down_by) == ("admin", "admin")
    assert noted.disabled_at
    assert noted.forced_down_at
    await api.got("admin", f"PUT /os-services/{host}", {"status": "enabled", "forced_down": False}, "2.53")
    noted = await row(api, host)
    assert (noted.disabled_by, noted.disabled_at, noted.forced_down_by, noted.forced_down_at) == (None,) * 4


async def test_a6_a_host_stays_forced_down_while_servers_are_evacuated_from_it(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    await have_migration(api, host, "accepted")
    await api.got("admin", f"PUT /os-services/{host}", {"forced_down": True}, "2.53")
    message = await api.refused("admin", f"PUT /os-services/{host}", 400, {"forced_down": False}, "2.53")
    assert "being evacuated" in message


async def test_a8_a_host_stays_forced_down_while_it_owes_a_clean_up_and_its_reason_is_told(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    server = ServerId("0d7c1e5c-94a5-4d4a-9d5c-0bd4c1a1a9a1")

    def owe(tx: Tx) -> None:
        rights.owe(tx, host, server, 2)
        rights.trouble(tx, host, server, "libvirtd is stuck")

    await api.cloud.database.transact(owe)
    await api.got("admin", f"PUT /os-services/{host}", {"forced_down": True}, "2.53")
    message = await api.refused("admin", f"PUT /os-services/{host}", 400, {"forced_down": False}, "2.53")
    assert "libvirtd is stuck" in message


async def test_old_clients_name_the_host(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    named = {"host": "compute1", "binary": "nova-compute"}
    answer = await api.got("admin", "PUT /os-services/disable", named)
    assert answer == {"service": {**named, "status": "disabled"}}
    answer = await api.got("admin", "PUT /os-services/disable-log-reason", {**named, "disabled_reason": "repair"})
    assert answer["service"]["disabled_reason"] == "repair"
    answer = await api.got("admin", "PUT /os-services/enable", named)
    assert answer["service"]["status"] == "enabled"
    answer = await api.got("admin", "PUT /os-services/force-down", {**named, "forced_down": True}, "2.11")
    assert answer == {"service": {**named, "forced_down": True}}
    assert (await row(api, host)).forced_down
    await api.refused("admin", "PUT /os-services/enable", 404, {**named, "host": "mars"})
    await api.refused("admin", "PUT /os-services/enable", 400, {**named, "binary": "nova-api"})
    await api.refused("admin", "PUT /os-services/enable", 400, named, "2.53")


async def have_migration(api: ComputeApi, source: HostId, status: str, **values: Any) -> None:
    usual = {
        "uuid": api.cloud.chance.uuid(),
        "server": "0d7c1e5c-94a5-4d4a-9d5c-0bd4c1a1a9a1",
        "type": "evacuation",
        "status": status,
        "source": source,
        "source_name": "compute1",
        "user": "someone",
        "project": "a project",
    }
    api.clock.now = api.clock.now.replace(second=api.clock.now.second + 1)
    await api.cloud.database.transact(lambda tx: migrations.add(tx, **{**usual, **values}))


async def test_a_host_is_removed_when_nothing_of_it_is_needed(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    server = await api.have_server(host=host, host_name="compute1")
    assert "hosting instances" in await api.refused("admin", f"DELETE /os-services/{host}", 409, version="2.53")
    gone = await api.have_host("compute2")
    await have_migration(api, gone, "accepted")
    assert "migrations" in await api.refused("admin", f"DELETE /os-services/{gone}", 409, version="2.53")
    free = await api.have_host("compute3")
    await api.got("admin", f"DELETE /os-services/{free}", version="2.53", status=204)
    assert await api.cloud.database.read(lambda tx: hosts.get(tx, free)) is None
    assert free not in {item.provider for item in await api.cloud.database.read(inventories.inventory)}
    assert free not in api.hosts.alive
    await api.refused("admin", f"DELETE /os-services/{free}", 404, version="2.53")
    await api.refused("admin", "DELETE /os-services/3", 400, version="2.53")
    await api.refused("admin", "DELETE /os-services/3", 404)
    assert server.host == host


async def test_hypervisors_are_shown_as_their_microversion_has_them(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    server = await api.have_server(host=host, host_name="compute1")
    project, user = server.project, server.user
    amounts = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
    await api.cloud.database.transact(lambda tx: claims.claim(tx, server.id, project, user, host, amounts))
    assert (await api.got("admin", "GET /os-hypervisors"))["hypervisors"] == [
        {"id": 1, "hypervisor_hostname": "compute1", "state": "up", "status": "enabled"}
    ]
    (old,) = (await api.got("admin", "GET /os-hypervisors/detail"))["hypervisors"]
    assert old["cpu_info"] == '{"model":"qemu64"}'
    assert (old["vcpus"], old["vcpus_used"], old["running_vms"]) == (8, 1, 1)
    assert (old["memory_mb"], old["memory_mb_used"], old["free_ram_mb"]) == (16384, 1024, 15360)
    assert (old["local_gb"], old["local_gb_used"], old["free_disk_gb"]) == (100, 1, 99)
    assert old["service"] == {"id": 1, "host": "compute1", "disabled_reason": None}
    middle = (await api.got("admin", f"GET /os-hypervisors/{host}", version="2.53"))["hypervisor"]
    assert (middle["id"], middle["cpu_info"]) == (host, {"model": "qemu64"})
    new = (await api.got("admin", f"GET /os-hypervisors/{host}?with_servers=true", version="2.88"))["hypervisor"]
    assert "vcpus" not in new
    assert new["uptime"] is None
    assert new["servers"] == [{"uuid": server.id, "name": server.domain}]
    await api.refused("admin", f"GET /os-hypervisors/{host}/uptime", 501, version="2.53")
    await api.refused("admin", f"GET /os-hypervisors/{host}/uptime", 404, version="2.88")
    totals = (await api.got("admin", "GET /os-hypervisors/statistics"))["hypervisor_statistics"]
    assert (totals["count"], totals["vcpus_used"], totals["running_vms"]) == (1, 1, 1)


async def test_hypervisors_are_found_by_name(api: ComputeApi) -> None:
    for name in ("compute1", "compute2", "other"):
        await api.have_host(name)

    async def names(request: str, version: str = "2.53") -> list[str]:
        found = await api.got("admin", f"GET /os-hypervisors{request}", version=version)
        return [each["hypervisor_hostname"] for each in found["hypervisors"]]

    assert await names("?hypervisor_hostname_pattern=COMP") == ["compute1", "compute2"]
    assert await names("/comp/search", "2.1") == ["compute1", "compute2"]
    assert await names("/other/servers", "2.1") == ["other"]
    assert await names("?limit=1&marker=1", "2.33") == ["compute2"]
    await api.refused("admin", "GET /os-hypervisors?hypervisor_hostname_pattern=x", 404, version="2.53")
    await api.refused("admin", "GET /os-hypervisors?hypervisor_hostname_pattern=x&limit=1", 400, version="2.53")
    await api.refused("admin", "GET /os-hypervisors?marker=9", 400, version="2.33")
    await api.refused("admin", "GET /os-hypervisors/compute1", 400, version="2.53")
    await api.refused("admin", "GET /os-hypervisors/9", 404)
    await api.refused("demo", "GET /os-hypervisors", 403)


async def test_lists_that_have_no_pages_are_whole(api: ComputeApi) -> None:
    many = paging.MOST + 1
    server = await api.have_server("admin")
    for number in range(many):
        await api.have_host(f"compute{number}")

    def write(tx: Tx) -> None:
        for number in range(many):
            actions.begin(tx, server.id, f"req-{number}", "reboot", server.user, server.project)
            key = StoredKey(user=server.user, name=f"key{number}", type="ssh", public_key="", fingerprint="")
            keypairs.add(tx, key)
            migrations.add(
                tx,
                uuid=api.cloud.chance.uuid(),
                server=server.id,
                type="migration",
                status="confirmed",
                source="host",
                source_name="compute1",
                user=server.user,
                project=server.project,
            )

    await api.cloud.database.transact(write)
    lists = [
        ("/os-hypervisors", "hypervisors", "2.32", "2.33"),
        ("/os-keypairs", "keypairs", "2.34", "2.35"),
        ("/os-migrations", "migrations", "2.58", "2.59"),
        (f"/servers/{server.id}/os-instance-actions", "instanceActions", "2.57", "2.58"),
    ]
    for path, name, whole, paged in lists:
        assert len((await api.got("admin", f"GET {path}", version=whole))[name]) == many, path
        page = await api.got("admin", f"GET {path}", version=paged)
        assert (len(page[name]), len(page)) == (paging.MOST, 2), "with the link to what follows"
    found = await api.got("admin", "GET /os-hypervisors?hypervisor_hostname_pattern=compute", version="2.53")
    assert (len(found["hypervisors"]), len(found)) == (many, 1)


async def test_migrations_are_shown_as_their_microversion_has_them(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    await have_migration(api, host, "done", destination_name="compute2", destination_address="192.0.2.2")
    (old,) = (await api.got("admin", "GET /os-migrations"))["migrations"]
    assert set(old) == (
        {"id", "instance_uuid", "source_compute", "source_node", "dest_compute", "dest_node", "dest_host", "status"}
        | {"old_instance_type_id", "new_instance_type_id", "created_at", "updated_at"}
    )
    assert (old["source_compute"], old["dest_compute"], old["dest_host"]) == ("compute1", "compute2", "192.0.2.2")
    (new,) = (await api.got("admin", "GET /os-migrations", version="2.80"))["migrations"]
    assert set(new) - set(old) == {"migration_type", "uuid", "user_id", "project_id"}
    await api.refused("demo", "GET /os-migrations", 403)


async def test_migrations_are_filtered_and_paged(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    for number, status in enumerate(("done", "failed", "completed")):
        await have_migration(api, host, status, destination_name=f"compute{number}")

    async def states(query: str, version: str = "2.80") -> list[str]:
        found = await api.got("admin", f"GET /os-migrations?{query}", version=version)
        return [each["status"] for each in found["migrations"]]

    assert await states("") == ["completed", "failed", "done"]
    assert await states("status=failed") == ["failed"]
    assert await states("host=compute1") == ["completed", "failed", "done"]
    assert await states("host=compute2") == ["completed"]
    assert await states("source_compute=compute2") == []
    assert await states("migration_type=evacuation&instance_uuid=x") == []
    assert await states("project_id=another") == []
    page = await api.got("admin", "GET /os-migrations?limit=2", version="2.59")
    last = page["migrations"][-1]
    assert page["migrations_links"][0]["href"].endswith(f"limit=2&marker={last['uuid']}")
    assert await states(f"marker={last['uuid']}") == ["done"]
    assert await states(f"changes-since={last['created_at']}") == ["completed", "failed"]
    assert await states(f"changes-before={last['created_at']}") == ["failed", "done"]
    assert await states("colour=red", "2.58") == ["completed", "failed", "done"]
    for query in ("colour=red", "marker=none", "limit=x", "changes-since=x"):
        await api.refused("admin", f"GET /os-migrations?{query}", 400, version="2.59")


async def test_the_zone_is_available_while_a_host_is_enabled(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    brief = await api.got("demo", "GET /os-availability-zone")
    expected = {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}
    assert brief == {"availabilityZoneInfo": [expected]}
    await api.got("admin", f"PUT /os-services/{host}", {"status": "disabled"}, "2.53")
    (zone,) = (await api.got("admin", "GET /os-availability-zone/detail"))["availabilityZoneInfo"]
    assert zone["zoneState"] == {"available": False}
    assert zone["hosts"]["compute1"]["nova-compute"]["active"] is False
    await api.refused("demo", "GET /os-availability-zone/detail", 403)


async def test_a_marker_is_a_migration_of_those_that_are_listed(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    for who in ("manager", "demo"):
        uuid, project = api.cloud.chance.uuid(), await api.project(who)
        await have_migration(api, host, "done", uuid=uuid, project=project)
        asked = f"GET /os-migrations?marker={uuid}"
        assert (await api.compute("manager", asked, version="2.59")).status_code == (200 if who == "manager" else 400)
        assert (await api.compute("admin", asked, version="2.59")).status_code == 200
