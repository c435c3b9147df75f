"""Which of this host's addresses is the one on the network that joins the hosts."""

import socket

from renova.model.errors import BadSetup
from renova.settings import AgentSettings


def underlay_address(settings: AgentSettings, controllers: tuple[str, ...]) -> str:
    """Return this host's own address on the network that joins the hosts: the one it reaches controllers from."""
    if not controllers:
        raise BadSetup("No controller is known. Give the agent a join token (RENOVA_JOIN_TOKEN_FILE).")
    host, _, port = controllers[0].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            if settings.underlay_device:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.underlay_device.encode())
            probe.connect((host.strip("[]"), int(port)))  # sends nothing: it only asks for the route
        except (OSError, ValueError) as error:
            raise BadSetup(
                f"No address of this host leads to the controller {controllers[0]} ({error}). Check the network, or "
                "RENOVA_CONTROLLERS and RENOVA_UNDERLAY_DEVICE."
            ) from error
        return str(probe.getsockname()[0])
