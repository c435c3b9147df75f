"""Binding the ports of a server that moves: the step right before its guest is begun where it goes."""

from renova.engine.operation import act
from renova.model.server import AttachedNetwork
from renova.operations.parts.guest import attached_networks, bind_all_ports
from renova.operations.work import Work


@act()
async def bind_ports(work: Work, destination: str) -> tuple[AttachedNetwork, ...]:
    """Bind the server's ports to the destination, of this name, before its guest starts there."""
    await bind_all_ports(work, destination)
    return await attached_networks(work)


@bind_ports.undo
async def bind_ports_back(work: Work, destination: str) -> None:
    """Bind the ports to where the server still lives; it is the same whichever destination failed."""
    server = await work.server()
    await bind_all_ports(work, server.host_name or "")
