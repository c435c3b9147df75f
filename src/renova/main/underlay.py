"""Which of this host's addresses is the one on the network that joins the hosts."""

import socket
from collections.abc import Sequence

from renova.drivers.blocking import in_thread
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import BadSetup, NotNow, unusable
from renova.settings import AgentSettings
from renova.uplink.controllers import AddressBook
from renova.uplink.pauses import Pauses, patiently


async def found_underlay(
    settings: AgentSettings, configured: Sequence[str], told: AddressBook, clock: Clock, chance: Chance
) -> str:
    """Return `underlay_address` as soon as there is one: at a boot, routes and names may come later than this process.

    `configured` controllers are asked for first, then those that controllers have told of.
    """
    known = tuple(dict.fromkeys((*configured, *await told.read())))
    return await patiently(
        "no way to a controller", lambda: in_thread(None, underlay_address, settings, known), Pauses(clock, chance)
    )


def underlay_address(settings: AgentSettings, controllers: Sequence[str]) -> str:
    """Return this host's own address on the network that joins the hosts: the one it reaches controllers from.

    The first controller decides to which an address leads. `NotNow` when none does; `BadSetup` when none ever will.
    Blocks while names are looked up.
    """
    if not controllers:
        raise BadSetup("No controller is known. Give the agent a join token (RENOVA_JOIN_TOKEN_FILE).")
    reasons: dict[str, Exception] = {}
    for controller in controllers:
        try:
            return _address_towards(controller, settings.underlay_device)
        except (OSError, ValueError, OverflowError) as error:
            reasons[controller] = error
    why = "; ".join(f"{controller}: {reason}" for controller, reason in reasons.items())
    says = (
        f"No address of this host leads to a controller ({why}). Check the network, or RENOVA_CONTROLLERS and "
        "RENOVA_UNDERLAY_DEVICE."
    )
    for reason in reasons.values():
        if isinstance(reason, OSError) and isinstance(trouble := unusable(reason, says), NotNow):
            raise trouble from reason
    raise BadSetup(says) from reason


def _address_towards(controller: str, device: str) -> str:
    host, _, port = controller.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if device:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        probe.connect((host.strip("[]"), int(port)))  # sends nothing: it only asks for the route
        return str(probe.getsockname()[0])
