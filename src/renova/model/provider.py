"""A resource provider as Placement has it, frozen: what it has, what is used, what it can do, and where it stands.

A host is one, the root of its tree; operators may add others below it or beside it.
"""

import msgspec

MOST = 2**31 - 1  # Placement's largest amount

SHARES = "MISC_SHARES_VIA_AGGREGATE"  # a provider with this trait serves every tree of its aggregates


class Stock(msgspec.Struct, frozen=True):
    """What a provider has of one resource class."""

    total: int
    reserved: int = 0
    allocation_ratio: float = 1.0
    min_unit: int = 1
    max_unit: int = MOST
    step_size: int = 1
    used: int = 0
    free: int = 0  # worked out: it is asked of thousands at once

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "free", self.capacity - self.used)

    @property
    def capacity(self) -> int:
        return int((self.total - self.reserved) * self.allocation_ratio)

    def gives(self, amount: int) -> bool:
        """Say whether this amount may be taken now."""
        return amount <= self.free and self.min_unit <= amount <= self.max_unit and amount % self.step_size == 0


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """A provider in a picture of them all; maybe a little old: whoever takes of it is tested again."""

    id: str
    name: str
    generation: int
    parent: str | None
    root: str
    stocks: dict[str, Stock]
    traits: frozenset[str]
    aggregates: frozenset[str]
    consumers: int  # how many hold something of it
