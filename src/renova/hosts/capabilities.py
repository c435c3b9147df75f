"""What a host can do, as standard traits of its provider: by these, requests to Placement choose among hosts."""

from renova.model.guest import HostFacts

NODE = frozenset({"COMPUTE_NODE", "OWNER_NOVA"})
DISABLED = "COMPUTE_STATUS_DISABLED"

# Of the guests that `drivers.hypervisor` defines, whichever the host.
_GUESTS = frozenset(
    {
        "COMPUTE_FIRMWARE_BIOS",
        "COMPUTE_GRAPHICS_MODEL_NONE",
        "COMPUTE_IMAGE_TYPE_QCOW2",
        "COMPUTE_IMAGE_TYPE_RAW",
        "COMPUTE_NET_VIF_MODEL_VIRTIO",
        "COMPUTE_STORAGE_BUS_VIRTIO",
    }
)
_ARCHITECTURES = {
    "x86_64": "COMPUTE_ARCH_X86_64",
    "aarch64": "COMPUTE_ARCH_AARCH64",
    "ppc64le": "COMPUTE_ARCH_PPC64LE",
    "riscv64": "COMPUTE_ARCH_RISCV64",
    "s390x": "COMPUTE_ARCH_S390X",
}


def traits(facts: HostFacts, *, disabled: bool) -> frozenset[str]:
    """Return the traits of a host; `disabled`: its compute service is, so nothing new is to be given to it."""
    found = NODE | _GUESTS
    if (architecture := _ARCHITECTURES.get(facts.architecture)) is not None:
        found |= {architecture}
    return found | {DISABLED} if disabled else found
