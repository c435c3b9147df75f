"""Volumes as storage hosts serve them: for writing under one name, and no name is given twice (one_export)."""

from collections.abc import Mapping

from renova.model.ids import VolumeId
from renova.simulation.hosts import SimulatedStorageHost
from renova.simulation.invariants.checks import Checks


class Exports:
    """Looked at from time to time, for nobody tells of them."""

    def __init__(self, checks: Checks, storage_hosts: Mapping[str, SimulatedStorageHost]) -> None:
        self._checks = checks
        self._storage_hosts = storage_hosts
        self._served: dict[str, tuple[VolumeId, str]] = {}  # every name ever served

    def look(self) -> None:
        for host in self._storage_hosts.values():
            for volume, exports in host.volumes.served.items():
                writable = sorted(export.name for export in exports.values() if export.writable)
                self._checks.demand(
                    len(writable) <= 1, "one_export", f"volume {{}} is served under {len(writable)} names", volume
                )
                for export in exports.values():
                    mine = (volume, str(export.host))
                    known = self._served.setdefault(export.name, mine)
                    self._checks.demand(
                        known == mine, "one_export", f"the name of an export of {{}} was that of {known}", volume
                    )
