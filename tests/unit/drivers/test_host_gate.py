"""What the gate of a host does where the kernel refuses something."""

import structlog

from renova.drivers.guard.cgroup import CgroupV2
from renova.drivers.guard.host_gate import HostGate
from renova.model.clock import SystemClock


class OneVanishes(CgroupV2):
    """Groups of which one goes between the look and the kill, as when the agent sweeps."""

    def __init__(self) -> None:
        self.killed: list[str] = []

    def groups(self) -> dict[str, list[int]]:
        return {"gone.1": [11], "here.1": [12]}

    def kill(self, group: str) -> None:
        if group == "gone.1":
            raise FileNotFoundError(2, "no such group")
        self.killed.append(group)


async def test_a_group_that_cannot_be_killed_saves_no_other() -> None:
    enclosure = OneVanishes()
    with structlog.testing.capture_logs():
        await HostGate(enclosure, SystemClock()).kill_all()
    assert enclosure.killed == ["here.1"]
