"""Active servers whose guests are known to be gone start again, once, by a reboot in their owners' names."""

from dataclasses import replace as with_parts
from typing import Any

import pytest
from msgspec.structs import replace

from renova.model.block_device import BlockDevice
from renova.model.guest import PowerState
from renova.model.host import HostState
from renova.model.ids import VolumeId
from renova.model.server import TaskState, VmState
from renova.operations.resume import resume_servers
from renova.store import block_devices, hosts, operations, rights, servers
from renova.store.database import Tx
from tests.unit.store.tables import ONE, A, B, add_server, lease

from .small_cloud import SmallCloud


def have(small: SmallCloud, *, right: bool = True, booted: bool = True, owes: bool = False, **server: Any) -> None:
    small.have_host(A)

    def work(tx: Tx) -> None:
        add_server(
            tx, ONE, **{"host": A, "host_name": "a", "launched_at": tx.now, "power_state": PowerState.SHUTDOWN} | server
        )
        rights.grant(tx, ONE, A)
        if not right:
            rights.release(tx, ONE)
        if owes:
            rights.owe(tx, A, ONE, 2)
        hosts.change(tx, A, resume=booted)

    small.tables.do(work)


def resume(small: SmallCloud) -> list[str]:
    small.tables.do(lambda tx: resume_servers(small.cloud, tx, A))
    return [held.story for held in small.runs.started]


@pytest.mark.parametrize(
    ("what", "resumed"),
    [
        ({}, ["reboot"]),
        ({"booted": False}, []),
        ({"right": False}, ["reboot"]),
        ({"right": False, "booted": False}, ["reboot"]),
        ({"right": False, "booted": False, "owes": True}, []),
        ({"vm_state": VmState.STOPPED}, []),
        ({"vm_state": VmState.ERROR}, []),
        ({"task_state": TaskState.REBUILDING}, ["heal_guest"]),
        ({"task_state": TaskState.REBUILDING, "booted": False}, []),
        ({"task_state": TaskState.REBUILDING, "host": B}, ["heal_guest"]),  # it is being evacuated here
        ({"task_state": TaskState.DELETING}, []),
        ({"host": B}, []),
        ({"locked_by": "admin"}, ["reboot"]),
        ({"power_state": PowerState.RUNNING}, ["heal_guest"]),  # maybe as it was before the boot
        ({"power_state": PowerState.RUNNING, "booted": False}, []),
    ],
)
def test_which_servers_start_again(small: SmallCloud, what: dict[str, Any], resumed: list[str]) -> None:
    have(small, **what)
    assert resume(small) == resumed


def test_what_was_under_way_when_the_host_booted_is_waited_for_once(small: SmallCloud) -> None:
    have(small)
    assert resume(small) == ["reboot"]
    for _ in range(2):
        small.tables.do(lambda tx: hosts.change(tx, A, resume=True))
        assert resume(small) == ["reboot"], "it waits"
        assert [held.story for held in small.tables.do(lambda tx: operations.queued(tx, ONE))] == ["heal_guest"]


def test_a_host_that_still_cleans_up_starts_nothing_and_forgets_nothing(small: SmallCloud) -> None:
    have(small)
    small.tables.do(lambda tx: hosts.change(tx, A, state=HostState.RETURNING))
    assert resume(small) == []
    small.tables.do(lambda tx: hosts.change(tx, A, state=HostState.UP))
    assert resume(small) == ["reboot"]


@pytest.mark.parametrize("vm_state", [VmState.ACTIVE, VmState.PAUSED])
def test_a_host_that_is_cut_off_starts_nothing_and_its_servers_stay_as_they_are(
    small: SmallCloud, vm_state: VmState
) -> None:
    have(small, booted=False, vm_state=vm_state, power_state=PowerState.RUNNING)
    volume = BlockDevice(id="root", server=ONE, source="volume", destination="volume", boot_index=0)
    small.tables.do(lambda tx: block_devices.add(tx, replace(volume, volume=VolumeId("volume"), host=A)))
    small.tables.do(lambda tx: hosts.prove_cut(tx, lease(tx, A), {"guard": "B"}, "a test"))
    assert small.tables.do(lambda tx: rights.has_ended(tx, ONE, rights.right(tx, ONE)))
    assert resume(small) == []
    server = small.tables.do(lambda tx: servers.get(tx, ONE))
    assert server is not None
    assert (server.vm_state, server.task_state) == (vm_state, None)


def test_a_boot_is_followed_once(small: SmallCloud) -> None:
    have(small)
    assert resume(small) == ["reboot"]
    assert resume(small) == ["reboot"]
    host = small.tables.do(lambda tx: hosts.get(tx, A))
    assert host is not None
    assert not host.resume


def test_where_guests_are_not_to_start_by_themselves_their_servers_are_stopped(small: SmallCloud) -> None:
    have(small)
    settings = replace(small.cloud.settings, resume_guests_on_boot=False)
    small.cloud = with_parts(small.cloud, settings=settings)
    assert resume(small) == ["heal_ports"], "their ports are to go down, too"
    server = small.tables.do(lambda tx: servers.get(tx, ONE))
    assert server is not None
    assert (server.vm_state, server.power_state) == (VmState.STOPPED, PowerState.SHUTDOWN)
