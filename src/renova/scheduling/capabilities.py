"""What flavors may ask about a host itself, under the names that Nova's host state gives it."""

from collections.abc import Callable
from typing import Any

from renova.model.host import HostView


def _free(host: HostView, name: str) -> float:
    return host.total.get(name, 0) - host.used.get(name, 0)


_ATTRIBUTES: dict[str, Callable[[HostView], Any]] = {
    "host": lambda host: host.name,
    "nodename": lambda host: host.name,
    "hypervisor_hostname": lambda host: host.name,
    "hypervisor_type": lambda host: host.hypervisor_type,
    "hypervisor_version": lambda host: host.hypervisor_version,
    "cpu_info": lambda host: host.cpu_info,
    "free_ram_mb": lambda host: _free(host, "MEMORY_MB"),
    "total_usable_ram_mb": lambda host: host.total.get("MEMORY_MB", 0),
    "free_disk_mb": lambda host: _free(host, "DISK_GB") * 1024,
    "total_usable_disk_gb": lambda host: host.total.get("DISK_GB", 0),
    "vcpus_total": lambda host: host.total.get("VCPU", 0),
    "vcpus_used": lambda host: host.used.get("VCPU", 0),
    "num_instances": lambda host: host.servers,
}

SCOPE = "capabilities:"
CHANGING = frozenset({"free_ram_mb", "free_disk_mb", "vcpus_used", "num_instances"})  # with every claim


def asked_of_host(extra_specs: dict[str, str]) -> dict[str, str]:
    """Return the extra specs that are about a host itself: those scoped so, and old ones without a scope."""
    found = {}
    for key, asked in extra_specs.items():
        if key.startswith(SCOPE):
            found[key.removeprefix(SCOPE)] = asked
        elif key in _ATTRIBUTES:
            found[key] = asked
    return found


def capability(host: HostView, path: str) -> str | None:
    """Return what the host has under this path, such as "cpu_info:model"; None when there is nothing of the name."""
    name, *deeper = path.split(":")
    if name not in _ATTRIBUTES:
        return None
    value = _ATTRIBUTES[name](host)
    for part in deeper:
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
