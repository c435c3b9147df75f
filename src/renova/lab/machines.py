"""What the lab needs of a cloud's machines, real or simulated: hosts with power, a cable and an agent each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from renova.lab.progress import Teller

GiveTokens = Callable[[int], list[str]]


@dataclass(frozen=True)
class Machine:
    """How one host stands."""

    name: str
    powered: bool
    plugged: bool
    agent: bool  # whether its agent's process runs


class Machines(Protocol):
    """All hosts of one cloud. Whatever is asked for twice is done once. Errors: BadSetup, NotNow, NotFound."""

    @property
    def agents_address(self) -> str:
        """Where hosts reach the controller's agents' port."""
        ...

    @property
    def extra_peers(self) -> tuple[str, ...]:
        """Further ends of the tenant networks' tunnels, besides the hosts."""
        ...

    def check(self) -> None:
        """Raise BadSetup when this machine cannot have such hosts, or we may not act on them."""
        ...

    def ready(self) -> bool:
        """Say whether what joins hosts to the controller is in place; without it the controller must begin anew."""
        ...

    def prepare(self, teller: Teller) -> None:
        """Have everything that must be there before the controller begins."""
        ...

    def agents_socket(self, port: int) -> int | None:
        """Return a listening socket for a controller to inherit; None when it is to open the port itself."""
        ...

    def up(self, names: Sequence[str], strangers: Sequence[str], give_tokens: GiveTokens) -> None:
        """Have these hosts on, each with its agent; `strangers` are those that have to be enrolled first."""
        ...

    def join_network(self, vni: int, gateway_cidr: str) -> None:
        """Have a way from the lab to the guests of a tenant network, whose gateway the lab becomes."""
        ...

    def down(self) -> None:
        """Have all hosts off, and what joins them away. Their disks stay."""
        ...

    def look(self, name: str) -> Machine: ...

    def ping(self, address: str) -> bool | None:
        """Say whether a guest answers at its address; None when its network carries nothing."""
        ...

    def kill(self, name: str) -> None:
        """Cut a host's power."""
        ...

    def cut(self, name: str) -> None:
        """Unplug a host's network."""
        ...

    def heal(self, name: str) -> None:
        """Plug a host's network in again."""
        ...

    def exec_argv(self, name: str, argv: Sequence[str]) -> list[str]:
        """Say how to run a program on a host. Raises BadSetup where hosts run none."""
        ...
