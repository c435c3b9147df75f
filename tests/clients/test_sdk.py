"""openstacksdk, which other programs are built on: Ansible's modules, Terraform's like, exporters."""

import pytest
from openstack import exceptions as sdk

from renova.lab import furniture
from tests.clients.whole_cloud import HOSTS, WholeCloud

pytestmark = pytest.mark.slow


def test_a_servers_life(cloud: WholeCloud) -> None:
    demo = cloud.demo
    made = demo.create_server(
        "one",
        image="renova-guest",
        flavor="m1.tiny",
        network="private",
        key_name=furniture.KEY,
        meta={"a": "b"},
        userdata="#!/bin/sh\n",
        auto_ip=False,
        wait=True,
    )
    server = cloud.server("one")
    assert (made.id, made.status, made.metadata) == (server["id"], "ACTIVE", {"a": "b"})
    assert made.private_v4 == server["addresses"]["private"][0]["addr"]
    assert [each.id for each in demo.compute.servers()] == [made.id]
    assert [each.id for each in demo.compute.servers(details=False, name="one")] == [made.id]
    assert demo.compute.get_server(made.id).flavor.vcpus == 1

    cloud.booted(made.id, [1])
    demo.compute.reboot_server(made, "SOFT")
    demo.compute.wait_for_server(made)
    cloud.booted(made.id, [1, 2])
    demo.compute.reboot_server(made, "HARD")
    demo.compute.wait_for_server(made)
    cloud.booted(made.id, [1, 2, 3])
    assert demo.compute.get_server_console_output(made, length=1)["output"] == "GUEST-READY one boots=3\n"
    rebuilt = demo.compute.rebuild_server(made, cloud.images["renova-guest-2"], name="two", admin_password="geheim")
    assert rebuilt.admin_password == "geheim"
    assert cloud.settled("two")["image"]["id"] == cloud.images["renova-guest-2"]

    demo.compute.stop_server(made)
    demo.compute.wait_for_server(made, status="SHUTOFF")
    demo.compute.start_server(made)
    demo.compute.wait_for_server(made)
    demo.compute.set_server_metadata(made, c="d")
    assert cloud.server("two")["metadata"] == {"a": "b", "c": "d"}
    demo.compute.add_tag_to_server(made, "red")
    assert cloud.server("two")["tags"] == ["red"]

    actions = list(demo.compute.server_actions(made))
    assert [action.action for action in actions] == ["start", "stop", "rebuild", "reboot", "reboot", "create"]
    events = cloud.admin.compute.get_server_action(actions[-1].request_id, made).events
    assert {event["result"] for event in events} == {"Success"}
    assert [port.port_id for port in demo.compute.server_interfaces(made)] == [port.id for port in cloud.ports(made.id)]

    assert demo.delete_server("two", wait=True)
    assert cloud.gone(made.id)
    assert demo.compute.find_server("two") is None


def test_pages_of_servers_are_joined(cloud: WholeCloud) -> None:
    image, flavor = cloud.images["renova-guest"], cloud.demo.compute.find_flavor("m1.tiny").id
    for number in range(5):
        cloud.demo.compute.create_server(name=f"one-{number}", image_id=image, flavor_id=flavor, networks="none")
    for number in range(5):
        cloud.settled(f"one-{number}")
    found = [server.name for server in cloud.demo.compute.servers(limit=2, sort_key="display_name", sort_dir="asc")]
    assert found == [f"one-{number}" for number in range(5)]
    assert len([server.name for server in cloud.demo.compute.servers(limit=2, paginated=False)]) == 2


def test_hosts_and_what_is_in_use_of_them(cloud: WholeCloud) -> None:
    admin = cloud.admin
    services = {each.host: (each.state, each.status) for each in admin.compute.services()}
    assert services == dict.fromkeys(HOSTS, ("up", "enabled"))
    admin.create_server(
        "one",
        image="renova-guest",
        flavor="m1.tiny",
        network="private",
        availability_zone="nova:host2",
        auto_ip=False,
        wait=True,
    )
    hypervisors = {each.name: each for each in admin.compute.hypervisors(details=True, with_servers=True)}
    assert sorted(hypervisors) == list(HOSTS)
    server = cloud.server("one")
    assert [each["uuid"] for each in hypervisors["host2"].servers] == [server["id"]]
    service = admin.compute.disable_service(next(admin.compute.services(host="host1")), disabled_reason="fans")
    assert (cloud.service("host1")["status"], service.disabled_reason) == ("disabled", "fans")
    admin.compute.enable_service(service)
    assert cloud.service("host1")["status"] == "enabled"

    placement = admin.placement
    providers = {each.name: each for each in placement.resource_providers()}
    assert {name: each.id for name, each in providers.items()} == {name: each.id for name, each in hypervisors.items()}
    inventories = {each.resource_class: each for each in placement.resource_provider_inventories(providers["host2"])}
    assert sorted(inventories) == ["DISK_GB", "MEMORY_MB", "VCPU"]
    used = placement.get(f"/resource_providers/{providers['host2'].id}/usages").json()["usages"]
    assert used == {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
    assert cloud.allocations(server["id"]) == {"host2": used}
    assert server["id"] not in {each.server_id for each in admin.compute.migrations()}


def test_what_cannot_be_is_said(cloud: WholeCloud) -> None:
    image, flavor = cloud.images["renova-guest"], cloud.demo.compute.find_flavor("m1.tiny").id
    nobody = "00000000-0000-0000-0000-000000000000"
    create = cloud.demo.compute.create_server
    for wrong in (
        {"name": ""},
        {"flavor_id": "none"},
        {"image_id": nobody},
        {"networks": [{"uuid": nobody}]},
        {"networks": [{"port": nobody}]},
        {"key_name": "none"},
        {"user_data": "not base64!"},
        {"metadata": {"k": "v" * 256}},
        {"min_count": 3, "max_count": 2},
    ):
        with pytest.raises(sdk.BadRequestException):
            create(**{"name": "bad", "image_id": image, "flavor_id": flavor, "networks": "auto"} | wrong)
    with pytest.raises(sdk.NotFoundException):
        cloud.demo.compute.get_server(nobody)
    with pytest.raises(sdk.NotFoundException):
        cloud.demo.compute.reboot_server(nobody, "HARD")
    assert cloud.servers() == []
    assert list(cloud.demo.network.ports()) == []
