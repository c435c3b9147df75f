"""Which extra specs flavors may have from 2.86 on: in Nova's namespaces those that Nova knows, elsewhere any.

Names and forms of values are those of Nova's reference of extra specs (33.0); others are most often misspelt.
"""

import re
from collections.abc import Mapping

from renova.api.compute.image_properties import demand_consistent
from renova.model.errors import Invalid
from renova.model.flavor import Flavor
from renova.store.providers import STANDARD_CLASSES, STANDARD_TRAITS

_WHOLE, _NATURAL, _POSITIVE = r"-?\d+", r"\d+", r"0*[1-9]\d*"
_TRUTH = r"(?i:1|t|true|on|y|yes|0|f|false|off|n|no)"
_CPUS = r"\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*"
_ANY = r"(?s:.*)"
_GROUP = r"[a-zA-Z0-9_-]{0,64}"
_CUSTOM = r"CUSTOM_[A-Z0-9_]+"

# Of hosts, as the scheduler of Nova sees them; those with parts may be followed by the way to one.
_CAPABILITIES = (
    "id|uuid|service_id|host|vcpus|memory_mb|local_gb|vcpus_used|memory_mb_used|local_gb_used|hypervisor_type"
    "|hypervisor_version|hypervisor_hostname|free_ram_mb|free_disk_gb|current_workload|running_vms"
    "|disk_available_least|host_ip|mapped|cpu_allocation_ratio|ram_allocation_ratio|disk_allocation_ratio"
    "|total_usable_ram_mb|total_usable_disk_gb|disk_mb_used|free_disk_mb|vcpus_total|num_instances|num_io_ops"
    "|failed_builds|aggregates|cell_uuid|updated"
)
_WITH_PARTS = (
    "cpu_info|metrics|stats|numa_topology|supported_hv_specs|pci_device_pools|nodename|pci_stats"
    "|supported_instances|limits|instances"
)

# The form of a name, and of its values.
_KNOWN = {
    "accel:device_profile": _ANY,
    "aggregate_instance_extra_specs:.+": _ANY,
    f"capabilities:({_CAPABILITIES}|({_WITH_PARTS})(:\\w+)*)": _ANY,
    "hw:(boot_menu|cpu_realtime|ephemeral_encryption|hide_hypervisor_id|locked_memory|mem_encryption|pmu"
    "|vif_multiqueue_enabled|virtio_packed_ring)": _TRUTH,
    "hw:(cpu_cores|cpu_max_cores|cpu_max_sockets|cpu_max_threads|cpu_sockets|cpu_threads|numa_nodes)": _POSITIVE,
    r"hw:numa_mem\.\d+": _POSITIVE,
    r"hw:(cpu_dedicated_mask|cpu_realtime_mask|numa_cpus\.\d+)": _CPUS,
    "hw:cpu_policy": "dedicated|shared|mixed",
    "hw:cpu_thread_policy": "prefer|isolate|require",
    "hw:emulator_threads_policy": "isolate|share",
    "hw:ephemeral_encryption_format": "luks|plain",
    "hw:(machine_type|sound_model|usb_model)": _ANY,
    "hw:maxphysaddr_bits": _NATURAL,
    "hw:maxphysaddr_mode": "emulate|passthrough",
    "hw:mem_encryption_model": "amd-sev|amd-sev-es",
    "hw:mem_page_size": r"large|small|any|\d+([kKMGT]i?)?(b|bit|B)?",
    "hw:pci_numa_affinity_policy": "required|preferred|legacy|socket",
    "hw:pmem": r"[a-zA-Z0-9_]+(,[a-zA-Z0-9_]+)*,?",
    "hw:redirected_usb_ports": r"\d|1[0-5]",
    "hw:serial_port_count": _NATURAL,
    "hw:tpm_(model|version|secret_security)": _ANY,  # refused with its own words
    "hw:viommu_model": "intel|smmuv3|virtio|auto",
    "hw:watchdog_action": _ANY,  # refused with its own words
    "hw_rng:allowed": _TRUTH,
    "hw_rng:rate_(bytes|period)": _NATURAL,
    "hw_video:ram_max_mb": _NATURAL,
    "os:secure_boot": "disabled|required",
    "pci_passthrough:alias": r"[^:]+:\d+(,[^:]+:\d+)*",
    "quota:cpu_(shares|period|quota)": _WHOLE,
    "quota:disk_(read|write|total)_(bytes|iops)_sec": _NATURAL,
    "quota:vif_(inbound|outbound)_(average|peak|burst)": _NATURAL,
    "quota:(cpu|memory|disk_io|vif)_(limit|reservation|shares_share)": _WHOLE,
    "quota:(cpu|memory|disk_io|vif)_shares_level": _ANY,
    f"resources{_GROUP}:({'|'.join(STANDARD_CLASSES)}|{_CUSTOM})": _WHOLE,
    f"trait{_GROUP}:({'|'.join(sorted(STANDARD_TRAITS))}|{_CUSTOM})": "required|forbidden",
    "vmware:(hw_version|storage_policy)": _ANY,
    "group_policy": "isolate|none",
    "hide_hypervisor_id": _TRUTH,
}
_FORMS = [(re.compile(name), re.compile(value)) for name, value in _KNOWN.items()]
_NAMESPACES = re.compile("|".join({name.partition(":")[0] for name in _KNOWN if ":" in name}))


def demand_known(specs: Mapping[str, str]) -> None:
    """Raise `Invalid` for a name or value that Nova would not know, or with which no server could be made here."""
    for name, value in specs.items():
        form = next((values for names, values in _FORMS if names.fullmatch(name)), None)
        if form is None:
            if ":" in name and _NAMESPACES.fullmatch(name.partition(":")[0]):
                raise Invalid(f"Validation failed; extra spec '{name}' does not appear to be a valid extra spec.")
        elif not form.fullmatch(value):
            raise Invalid(f"Validation failed; '{value}' is no value that extra spec '{name}' may have.")
    demand_consistent(Flavor(id="", name="", vcpus=1, memory_mb=1, root_gb=0, extra_specs=dict(specs)), {})
