"""A flavor: how much of a host a server gets."""

import msgspec

RESOURCES = "resources:"  # extra specs that begin so say what a server claims of this class instead


class Flavor(msgspec.Struct, frozen=True):
    """Amounts as Nova's API has them. A server keeps its flavor as it was when it was created."""

    id: str  # what the user chose as id
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int  # 0: as large as the image
    ephemeral_gb: int = 0
    swap_mb: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    description: str | None = None
    extra_specs: dict[str, str] = {}

    def resources(self, *, volume_backed: bool = False) -> dict[str, int]:
        """Return what a server of this flavor claims, by placement's resource class (spec: scheduling, section 2)."""
        swap_gb = -(-self.swap_mb // 1024)
        disk_gb = self.ephemeral_gb + swap_gb + (0 if volume_backed else self.root_gb)
        amounts = {"VCPU": self.vcpus, "MEMORY_MB": self.memory_mb, "DISK_GB": disk_gb}
        for key, amount in self.extra_specs.items():
            if key.startswith(RESOURCES) and amount.isdecimal():
                amounts[key.removeprefix(RESOURCES)] = int(amount)  # 0: nothing of it is claimed
        return {name: amount for name, amount in amounts.items() if amount}
