"""The agent's process on a real host: libvirt, Linux bridges, a journal on disk. `python -m renova.main.agent_process`.

It imports nothing of a controller: it runs beside untrusted guests, and on every host. What is needed once, enrolment
and the command line, has been done before and is not loaded here: `renova agent` becomes this process.
"""

import asyncio
import socket
import sys
from pathlib import Path

import structlog
from msgspec.structs import replace

from renova import log as logs
from renova.agent.connection import TlsDialer
from renova.agent.controllers import FileBook
from renova.agent.identity import check_name, read_identity
from renova.agent.journal import FileJournal
from renova.agent.nbd_certificates import lay_out
from renova.agent.service import Agent
from renova.drivers.hypervisor import Hypervisor
from renova.drivers.hypervisor.accelerator import probe_kvm
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.none import NoHypervisor
from renova.drivers.network import Network
from renova.drivers.network.linux_bridge import LinuxBridge
from renova.drivers.network.none import NoNetwork
from renova.drivers.volume import Storage
from renova.main.ending import until_told
from renova.model.chance import Chance, SystemChance
from renova.model.clock import Clock, SystemClock
from renova.model.errors import BadSetup
from renova.settings import AgentSettings, load

log = structlog.get_logger()

LAST_PORT = 65_535
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def serve(settings: AgentSettings) -> None:
    """Run the agent of this host until it is told to end."""
    logs.set_up(settings.log_level, process="agent")
    with asyncio.Runner() as runner:
        runner.run(_serve(settings))


async def _serve(settings: AgentSettings) -> None:
    settings = replace(settings, name=settings.name or socket.gethostname())
    clock, chance = SystemClock(), SystemChance()
    state = Path(settings.state_dir)
    identity = read_identity(state)
    if identity is None:
        raise BadSetup(f"This host is not enrolled: there is no identity in {state}. Start it with `renova agent`.")
    check_name(identity, settings.name)
    controllers = settings.controllers or identity.controllers
    address = underlay_address(settings, controllers)
    tls = Path(settings.nbd_tls_dir) if settings.nbd_tls_dir else state / "nbd-tls"
    lay_out(state, tls)
    storage: Storage | None = None
    hypervisor: Hypervisor = NoHypervisor()
    network: Network = NoNetwork()
    if settings.role == "storage":
        from renova.drivers.volume.nbd import NbdStorage  # a host of guests speaks to no storage daemon

        served = tls if settings.nbd_tls else None
        storage = NbdStorage(Path(settings.volumes_dir), clock, address=address, ports=nbd_ports(settings), tls=served)
    else:
        hypervisor, network = await _guests(settings, clock, chance), LinuxBridge(address)
    agent = Agent(
        settings,
        hypervisor,
        network,
        FileJournal(state / "journal" / identity.host, chance),
        clock,
        chance,
        [TlsDialer(controller, state) for controller in controllers],
        boot=BOOT_ID.read_text().strip(),
        address=address,
        storage=storage,
        dialer_to=lambda controller: TlsDialer(controller, state),
        book=FileBook(state),
    )
    await until_told(agent.run())


async def _guests(settings: AgentSettings, clock: Clock, chance: Chance) -> Hypervisor:
    from renova.drivers.hypervisor.libvirt import LibvirtHypervisor  # a storage host has no libvirt

    accelerator = await asyncio.to_thread(probe_kvm)
    log.info("accelerator chosen", kind=accelerator.kind, reason=accelerator.reason)
    disks = Disks(Path(settings.instances_dir), clock, chance)
    return LibvirtHypervisor(disks, clock, accelerator.kind, uri=settings.libvirt_uri)


def nbd_ports(settings: AgentSettings) -> range:
    """Return the ports on which a storage host may serve."""
    ports = range(settings.nbd_port, settings.nbd_port + settings.nbd_ports)
    if ports[-1] > LAST_PORT:
        raise BadSetup(
            f"nbd_ports ({settings.nbd_ports}) from nbd_port ({settings.nbd_port}) on go beyond {LAST_PORT}. Lower one."
        )
    return ports


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


if __name__ == "__main__":
    try:
        serve(load(AgentSettings, Path(sys.argv[1]) if len(sys.argv) > 1 else None))
    except BadSetup as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
