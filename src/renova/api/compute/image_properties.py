"""What an image demands of the hardware, held against what the flavor says of the same (Nova, nova/virt/hardware).

Most wishes may be made by either; where both make one, the flavor belongs to the operator and wins, so an image that
wants otherwise is refused.
"""

from collections.abc import Mapping

from renova.model import watching
from renova.model.errors import Invalid
from renova.model.flavor import Flavor
from renova.model.image import Image

_CPU_POLICIES = ("dedicated", "shared", "mixed")
_CPU_THREAD_POLICIES = ("prefer", "isolate", "require")

# Extra specs and image properties that must say the same where both say something.
_THE_SAME = {
    "hw:cpu_thread_policy": "hw_cpu_thread_policy",
    "hw:emulator_threads_policy": "hw_emulator_threads_policy",
    "hw:machine_type": "hw_machine_type",
    "hw:maxphysaddr_mode": "hw_maxphysaddr_mode",
    "hw:mem_encryption": "hw_mem_encryption",
    "hw:pci_numa_affinity_policy": "hw_pci_numa_affinity_policy",
    "hw:pmu": "hw_pmu",
    "hw:viommu_model": "hw_viommu_model",
    "hw:virtio_packed_ring": "hw_virtio_packed_ring",
}

# What Nova knows (objects.fields.Architecture), and other words for the same.
_ARCHITECTURES = {
    "aarch64", "alpha", "armv6", "armv7l", "armv7b", "cris", "i686", "ia64", "lm32", "m68k", "microblaze",
    "microblazeel", "mips", "mipsel", "mips64", "mips64el", "openrisc", "parisc", "parisc64", "ppc", "ppcle", "ppc64",
    "ppc64le", "ppcemb", "s390", "s390x", "sh4", "sh4eb", "sparc", "sparc64", "unicore32", "x86_64", "xtensa",
    "xtensaeb", "amd64", "x64", "i386", "i486", "i586",
}  # fmt: skip
_OFTEN_TRUE = ("1", "t", "true", "on", "y", "yes")


def demand_known_architecture(image: Image) -> None:
    """Raise `Invalid` for an image of a machine that nobody knows."""
    name = image.properties.get("hw_architecture") or image.properties.get("architecture")
    if name is not None and name.lower() not in _ARCHITECTURES:
        raise Invalid(f"Architecture name '{name}' of image {image.id} is not recognised: correct hw_architecture.")


def demand_auto_disk_config(image: Image, wanted: str | None) -> None:
    """Raise `Invalid` where AUTO is wanted of an image that forbids it."""
    if wanted == "AUTO" and auto_disk_config(image) == "MANUAL":
        raise Invalid(f"Requested OS-DCF:diskConfig AUTO, but image {image.id} has auto_disk_config disabled.")


def auto_disk_config(image: Image) -> str | None:
    """Return what the image says of its disk's size; None where it says nothing."""
    said = image.properties.get("auto_disk_config")
    if said is None:
        return None
    return "AUTO" if said.lower() in _OFTEN_TRUE else "MANUAL"


def demand_unencrypted(image: Image) -> None:
    """Raise `Invalid` for an image of an encrypted volume: only a volume can be made of it."""
    if "cinder_encryption_key_id" in image.properties:
        raise Invalid(
            f"Image {image.id} is unacceptable: it was made of an encrypted volume, and only a volume can boot from it."
        )


def demand_consistent(flavor: Flavor, properties: Mapping[str, str]) -> None:
    """Raise `Invalid` unless flavor and image agree on the hardware; the message names both keys."""
    specs = flavor.extra_specs
    for spec, name in (("hw:tpm_version", "hw_tpm_version"), ("hw:tpm_model", "hw_tpm_model")):
        if specs.get(spec) or properties.get(name):
            raise Invalid(f"vTPM is not supported: the flavor's {spec} or the image's {name} asks for it.")
    _demand_one_of(specs.get("hw:cpu_policy"), "hw:cpu_policy", _CPU_POLICIES)
    _demand_one_of(properties.get("hw_cpu_policy"), "hw_cpu_policy", _CPU_POLICIES)
    _demand_one_of(specs.get("hw:cpu_thread_policy"), "hw:cpu_thread_policy", _CPU_THREAD_POLICIES)
    _demand_one_of(properties.get("hw_cpu_thread_policy"), "hw_cpu_thread_policy", _CPU_THREAD_POLICIES)
    for said, key in ((specs, watching.WATCHDOG_SPEC), (properties, watching.WATCHDOG_PROPERTY)):
        _demand_one_of(said.get(key), key, watching.WATCHDOG_ACTIONS)
    wants, may = properties.get("hw_cpu_policy"), specs.get("hw:cpu_policy")
    if may in ("shared", "mixed") and wants == "dedicated":
        raise _overrides("hw_cpu_policy", "hw:cpu_policy")
    if properties.get("hw_mem_page_size") and specs.get("hw:mem_page_size") not in ("large", "any"):
        raise Invalid(
            "Page size requested by the image's hw_mem_page_size is forbidden: the flavor's hw:mem_page_size must be "
            "large or any."
        )
    for spec, name in _THE_SAME.items():
        if specs.get(spec) and properties.get(name) and specs[spec].lower() != properties[name].lower():
            raise _overrides(name, spec)
    if any(key.startswith("hw:numa_") for key in specs) and any(key.startswith("hw_numa_") for key in properties):
        raise _overrides("hw_numa_*", "hw:numa_*")


def demand_same_numa(flavor: Flavor, former: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raise `Invalid` where a rebuild with the new image would change the CPU and NUMA shape that was claimed."""
    if _shape(flavor, former) != _shape(flavor, new):
        raise Invalid(
            "An instance's NUMA topology cannot be changed as part of a rebuild: the image's hw_numa_*, hw_cpu_policy "
            "and hw_mem_page_size must stay; resize the server instead."
        )


def _shape(flavor: Flavor, properties: Mapping[str, str]) -> dict[str, str]:
    wishes = {key.replace("hw:", "hw_"): value for key, value in flavor.extra_specs.items()}
    wishes |= dict(properties)
    shape = {key: value for key, value in wishes.items() if key.startswith(("hw_numa_", "hw_mem_page_size"))}
    policy = wishes.get("hw_cpu_policy", "shared")
    return shape | ({"hw_cpu_policy": policy} if policy != "shared" else {})


def _demand_one_of(value: str | None, key: str, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise Invalid(f"Invalid value '{value}' of {key}: it must be one of {', '.join(known)}.")


def _overrides(name: str, spec: str) -> Invalid:
    return Invalid(f"Image property '{name}' is not permitted to override the flavor's {spec}.")
