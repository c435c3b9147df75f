"""Servers' local disks: newer incarnations write after older ones (one_writer), and the newest stays (kept)."""

from renova.drivers.hypervisor.simulated.storage import SimulatedDisk
from renova.model.ids import ServerId
from renova.model.server import TaskState
from renova.simulation.hosts import SimulatedHost
from renova.simulation.invariants.view import View


class Disks:
    """Looked at for writes from time to time, for nobody tells of them; told of deletions by each host's witness."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._written: dict[int, tuple[SimulatedDisk, int, int]] = {}  # disk, writes looked at, highest incarnation

    def look(self) -> None:
        """Check that no disk took a write of an older incarnation after one of a newer."""
        seen = set()
        for host in self._view.hosts.values():
            if id(host.storage) in seen:
                continue
            seen.add(id(host.storage))
            for (server, generation), disk in host.storage.disks.items():
                _, looked, highest = self._written.get(id(disk), (disk, 0, 0))
                for write in disk.writes[looked:]:
                    number = write.incarnation
                    self._view.checks.demand(
                        number >= highest or bool(self._view.believed.lied_of),
                        "one_writer",
                        f"disk {generation} of {{}} took a write of incarnation {number} after one of {highest}",
                        server,
                    )
                    highest = max(highest, number)
                self._written[id(disk)] = (disk, len(disk.writes), highest)

    def deleted(self, host: SimulatedHost, server: ServerId, generation: int) -> None:
        """Check that a host deletes no disk that is the newest of a server that goes on, at home on this storage."""
        view = self._view
        row = view.servers.get(server)
        if row is None or row["deleted"] or row["launched_at"] is None or row["task_state"] == TaskState.DELETING:
            return
        home = view.hosts.get(view.names.get(row["host"] or "", ""))
        if home is None or home.storage is not host.storage or view.in_doubt:
            return
        if host.storage.disks[server, generation].image is None:
            return  # of a server that boots from a volume: it holds nothing but a config drive
        view.checks.demand(
            generation != row["root_generation"] or host.hypervisor.setting_aside == server,
            "kept",
            f"{host.name} deletes disk {generation} of {{}}, the newest it has, on the storage of {home.name}",
            server,
        )
