"""The agent's process on a real host: libvirt, Linux bridges, a journal on disk. `python -m renova.main.agent_process`.

It imports nothing of a controller: it runs beside untrusted guests, and on every host. What is needed once, enrolment
and the command line, has been done before and is not loaded here: `renova agent` becomes this process.
"""

import asyncio
import socket
import sys
import uuid
from pathlib import Path

import structlog
from msgspec.structs import replace

from renova import log as logs
from renova.agent.journal import FileJournal
from renova.agent.nbd_certificates import lay_out
from renova.agent.service import Agent
from renova.drivers.blocking import in_thread
from renova.drivers.guard.place import enclosure_at, usual_place
from renova.drivers.heartbeat import Heartbeats
from renova.drivers.heartbeat.files import FileHeartbeats
from renova.drivers.hypervisor import Hypervisor
from renova.drivers.hypervisor.accelerator import probe_kvm
from renova.drivers.hypervisor.behind_gate import BehindGate
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.none import NoHypervisor
from renova.drivers.hypervisor.passage import Credentials, Passage
from renova.drivers.network import Network
from renova.drivers.network.linux_bridge import LinuxBridge
from renova.drivers.network.none import NoNetwork
from renova.drivers.storage_mark import StorageMark
from renova.drivers.volume import Storage
from renova.main.ending import run_to_status, until_told
from renova.main.underlay import found_underlay
from renova.model.chance import Chance, SystemChance
from renova.model.clock import Clock, SystemClock
from renova.model.errors import BadSetup
from renova.settings import AgentSettings, load
from renova.uplink.connection import TlsDialer
from renova.uplink.controllers import FileBook
from renova.uplink.identity import authority_file, certificate_file, check_name, key_file, read_identity
from renova.uplink.local_socket import SocketDialer
from renova.uplink.pauses import Pauses, patiently

log = structlog.get_logger()

LAST_PORT = 65_535
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SYSTEM_UUID = Path("/sys/class/dmi/id/product_uuid")


def serve(settings: AgentSettings) -> None:
    """Run the agent of this host until it is told to end."""
    logs.set_up(settings.log_level, process="agent")
    with asyncio.Runner() as runner:
        runner.run(_serve(settings))


async def _serve(settings: AgentSettings) -> None:
    name, system = settings.name or socket.gethostname(), settings.system_uuid or firmware_uuid(SYSTEM_UUID)
    settings = replace(settings, name=name, system_uuid=system)
    clock, chance = SystemClock(), SystemChance()
    state = Path(settings.state_dir)
    identity = read_identity(state)
    if identity is None:
        raise BadSetup(f"This host is not enrolled: there is no identity in {state}. Start it with `renova agent`.")
    check_name(identity, settings.name)
    controllers, book = settings.controllers or identity.controllers, FileBook(state)
    address = await found_underlay(settings, controllers, book, clock, chance)
    tls = Path(settings.nbd_tls_dir) if settings.nbd_tls_dir else state / "nbd-tls"
    await patiently("certificates not laid out", lambda: in_thread(None, lay_out, state, tls), Pauses(clock, chance))
    storage: Storage | None = None
    heartbeats: Heartbeats | None = None
    hypervisor: Hypervisor = NoHypervisor()
    network: Network = NoNetwork()
    if settings.role == "storage":
        from renova.drivers.volume.nbd import NbdStorage  # a host of guests speaks to no storage daemon

        volumes, served = Path(settings.volumes_dir), tls if settings.nbd_tls else None
        mark = StorageMark(volumes, chance, state / "volumes-storage")
        storage = NbdStorage(volumes, clock, address=address, ports=nbd_ports(settings), tls=served, mark=mark)
    else:
        passage = None
        if settings.migration_port:
            passage = Passage(
                address,
                settings.migration_port,
                Credentials(authority_file(state), certificate_file(state), key_file(state)),
            )
        hypervisor, network = await _guests(settings, clock, chance, passage), LinuxBridge(address)
        heartbeats = FileHeartbeats(Path(settings.instances_dir), identity.host)
    agent = Agent(
        settings,
        hypervisor,
        network,
        FileJournal(state / "journal" / identity.host, chance),
        clock,
        chance,
        [TlsDialer(controller, state) for controller in controllers],
        SocketDialer(state),
        boot=BOOT_ID.read_text().strip(),
        address=address,
        storage=storage,
        heartbeats=heartbeats,
        dialer_to=lambda controller: TlsDialer(controller, state),
        book=book,
    )
    await until_told(agent.run())


async def _guests(settings: AgentSettings, clock: Clock, chance: Chance, passage: Passage | None) -> Hypervisor:
    try:
        from renova.drivers.hypervisor.libvirt import LibvirtHypervisor  # a storage host has no libvirt
    except ModuleNotFoundError as error:
        raise BadSetup(
            f"The agent of a host with guests needs libvirt's Python module ({error}): run script/bootstrap as root, "
            "without --simulated."
        ) from error

    accelerator = await asyncio.to_thread(probe_kvm)
    log.info("accelerator chosen", kind=accelerator.kind, reason=accelerator.reason)
    enclosure = enclosure_at(Path(settings.gate) if settings.gate else usual_place())
    log.info("guests are started behind the gate", at=str(enclosure.path), held_by=enclosure.holds_by)
    known = Path(settings.state_dir) / "instances-storage"
    disks = Disks(Path(settings.instances_dir), clock, chance, enclosure.argv_inside, known=known)
    gate = BehindGate(enclosure)
    return LibvirtHypervisor(disks, clock, accelerator.kind, uri=settings.libvirt_uri, gate=gate, passage=passage)


def firmware_uuid(file: Path) -> str:
    """Return the machine's UUID as its firmware tells it; "" where it tells none, or what every board of a kind has."""
    try:
        text = file.read_text().strip().lower()
        raw = uuid.UUID(text).bytes
    except (OSError, ValueError):
        return ""
    return "" if len(set(raw)) == 1 else text


def nbd_ports(settings: AgentSettings) -> range:
    """Return the ports on which a storage host may serve."""
    ports = range(settings.nbd_port, settings.nbd_port + settings.nbd_ports)
    if ports[-1] > LAST_PORT:
        raise BadSetup(
            f"nbd_ports ({settings.nbd_ports}) from nbd_port ({settings.nbd_port}) on go beyond {LAST_PORT}. Lower one."
        )
    return ports


if __name__ == "__main__":
    run_to_status(lambda: serve(load(AgentSettings, Path(sys.argv[1]) if len(sys.argv) > 1 else None)))
