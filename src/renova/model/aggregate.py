"""A host aggregate: hosts with metadata in common. One that names an availability zone makes that zone."""

import msgspec

from renova.model.ids import HostId

DEFAULT_ZONE = "nova"  # of hosts in no aggregate that names one (Nova, default_availability_zone)
ZONE_KEY = "availability_zone"


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate's row, with its hosts in the order in which they came."""

    id: int
    uuid: str
    name: str
    metadata: dict[str, str] = {}
    hosts: tuple[HostId, ...] = ()
    created_at: str = ""
    updated_at: str | None = None

    @property
    def zone(self) -> str | None:
        return self.metadata.get(ZONE_KEY)
