"""What a host says of itself."""

from typing import Any

from renova.model.guest import FoundGuest, HostFacts, PowerState
from renova.model.ids import HostId, ServerId
from renova.settings import LeaseTimes
from renova.wire.sessions import Hello

TIMES = LeaseTimes(renew=1.0, ttl=5.0, margin=12.0, failover=0.0)
FACTS = HostFacts(
    hypervisor_type="QEMU",
    hypervisor_version=7002000,
    accelerator="simulated",
    architecture="x86_64",
    vcpus=8,
    memory_mb=16384,
    local_gb=100,
    storage_id="storage",
)


def a_hello(host: HostId = HostId("host-a"), **changes: Any) -> Hello:  # noqa: B008
    fields: dict[str, Any] = {
        "name": f"name-of-{host}",
        "address": "10.1.0.1",
        "boot": "boot",
        "journal": "journal",
        "era": 0,
        "epoch": 0,
        "facts": FACTS,
        "guests": (),
    }
    return Hello(**fields | changes)


def found(server: ServerId, incarnation: int = 1) -> FoundGuest:
    return FoundGuest(server, incarnation, PowerState.RUNNING)
