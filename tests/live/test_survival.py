"""Whatever is killed with -9, or hangs, on real hosts with real guests: the cloud goes on, and nothing runs twice."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openstack import exceptions as sdk

from renova.lab import processes
from tests.live.lab import BRIEF_S, Lab, running_lab
from tests.live.neglect import ANSWER_TWICE, NEGLECT_WATCHDOG
from tests.live.test_memory_and_images import create

pytestmark = [pytest.mark.live, pytest.mark.first, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, guest_image_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("survival"), guest_image_path) as lab:
        yield lab


POINTS: dict[str, Callable[[Lab, str], bool]] = {
    "when it was accepted": lambda _lab, _server: True,
    "when the destination was claimed": lambda lab, server: "pre-migrating" in lab.migrations(server),
    "when the guest came up": lambda lab, server: bool(lab.running_on(server)),
}


@pytest.mark.parametrize(
    "when",
    [
        pytest.param(each, marks=pytest.mark.takes_turns("when an evacuation's controller is killed", each))
        for each in POINTS
    ],
)
def test_an_evacuation_ends_although_its_controller_is_killed(lab: Lab, when: str) -> None:
    server = lab.create("survivor")
    lab.active(server)
    lab.boots(server, 1)
    source = lab.host(server)
    lab.cloud.kill(source)
    lab.until(lambda: next(lab.compute.services(host=source)).state == "down", f"{source} is not seen down")
    lab.evacuate(server)
    lab.until(lambda: POINTS[when](lab, server), f"the evacuation was not seen {when}", pause=BRIEF_S)
    lab.kill_controller()
    lab.mend()  # starts the controller again, and the dead host, which must clean up first
    lab.active(server)
    assert lab.host(server) != source
    assert lab.running_on(server) == [lab.host(server)]
    lab.boots(server, 2)  # on the disk it had
    lab.until(lambda: lab.migrations(server)[:1] == ["completed"], "not completed")
    lab.compute.delete_server(server)
    lab.until(lambda: lab.state(server) is None, "the server was not deleted")


def test_a_server_is_created_although_its_agent_is_killed_meanwhile(lab: Lab) -> None:
    server = lab.create("orphan")
    lab.until(lambda: bool(lab.host(server)), "no host was claimed", pause=BRIEF_S)
    host = lab.host(server)
    agent = processes.running(lab.cloud.home.pid_file(f"agent-{host}"))
    assert agent is not None
    agent.kill()
    lab.mend()
    lab.active(server)
    assert lab.running_on(server) == [lab.host(server)]
    lab.compute.delete_server(server)


def test_a_guest_that_is_killed_makes_its_server_shut_off_and_it_starts_again(lab: Lab) -> None:
    server = lab.create("killed")
    lab.active(server)
    host = lab.host(server)
    pid = lab.run_on(host, "pgrep", "-f", f"guest=.*{server}|uuid {server}").split()[0]
    lab.run_on(host, "kill", "-9", pid)
    lab.until(lambda: lab.state(server) == "SHUTOFF", "the server does not follow its guest")
    lab.compute.start_server(server)
    lab.active(server)
    assert lab.running_on(server) == [host]
    lab.compute.delete_server(server)


def test_guests_outlive_agent_and_libvirtd(lab: Lab) -> None:
    server = lab.create("outlives")
    lab.active(server)
    host = lab.host(server)
    agent = processes.running(lab.cloud.home.pid_file(f"agent-{host}"))
    assert agent is not None
    agent.kill()
    lab.run_on(host, "sh", "-c", "kill -9 $(cat /run/libvirt/libvirtd.pid)")
    lab.mend()
    assert lab.running_on(server) == [host]
    lab.compute.reboot_server(server, "HARD")
    lab.active(server)
    assert lab.running_on(server) == [host]
    lab.compute.delete_server(server)


def test_guests_that_hang_and_leave_that_to_others_are_started_again(lab: Lab, guest_image_path: Path) -> None:
    def watched(action: str) -> tuple[str, str]:
        flavor = lab.compute.create_flavor(name=f"watched-{action}", vcpus=1, ram=128, disk=1)
        lab.compute.create_flavor_extra_specs(flavor, {"hw:watchdog_action": action})
        return create(lab, f"hangs-{action}", flavor=flavor.name)

    def with_agent() -> tuple[str, str]:
        image = lab.admin.image.create_image(
            "with-agent", disk_format="qcow2", container_format="bare", hw_qemu_guest_agent="yes"
        )
        headers = {"Content-Type": "application/octet-stream", "Accept": ""}
        with guest_image_path.open("rb") as content:
            sdk.raise_from_response(lab.admin.image.put(f"/images/{image.id}/file", data=content, headers=headers))
        return create(lab, "falls-silent", "with-agent")

    neglects = {"none": NEGLECT_WATCHDOG, "pause": NEGLECT_WATCHDOG, "agent": ANSWER_TWICE}
    with lab.recovering(hang_after=10.0), ThreadPoolExecutor() as booting:
        begun = {each: booting.submit(watched, each) for each in ("none", "pause")} | {
            "agent": booting.submit(with_agent)
        }
        created = {each: server.result() for each, server in begun.items()}
        hosts = {server: lab.host(server) for server, _ in created.values()}
        for each, (server, address) in created.items():
            lab.boots(server, 1)
            lab.in_guest(address, neglects[each])
        for server, host in hosts.items():
            lab.boots(server, 2)
            lab.active(server)
            assert lab.running_on(server) == [host]
            (reboot,) = [each for each in lab.compute.server_actions(server) if each.action == "reboot"]
            (event,) = lab.compute.get_server_action(reboot.request_id, server).events
            assert (event["result"], event["details"]) == ("Success", "its guest hung")
            lab.compute.delete_server(server)
