"""Where a server is: what group policies and hints are about."""

import msgspec

from renova.model.ids import HostId, ServerId


class Place(msgspec.Struct, frozen=True):
    """Where a server is: on the host that its row names, and on the one that may run it, if that is another."""

    server: ServerId
    host: HostId | None
    runs_on: HostId | None
    moving: bool = False  # it is being built on the host that may run it, and may yet have to leave that

    @property
    def home(self) -> HostId | None:
        """Where it lives, or is on its way to."""
        return self.runs_on or self.host

    @property
    def hosts(self) -> frozenset[HostId]:
        return frozenset(host for host in (self.host, self.runs_on) if host is not None)
