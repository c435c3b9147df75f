"""The machines of a cloud with real guests: lab hosts in namespaces, joined by the rack. Needs root."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from shutil import which
from subprocess import TimeoutExpired

from renova.drivers.hypervisor.accelerator import probe_kvm
from renova.lab import furniture, guest_image
from renova.lab.agents import LabAgent, invite
from renova.lab.blueprint import STORAGE_HOST, Blueprint
from renova.lab.home import Home
from renova.lab.hosts import Host
from renova.lab.machines import GiveTokens, Machine
from renova.lab.namespaces import require_root
from renova.lab.progress import Teller
from renova.lab.rack import RACK_ADDRESS, Rack
from renova.model.errors import BadSetup

_TOOLS = ("qemu-system-x86_64", "qemu-img", "libvirtd", "virsh", "qemu-storage-daemon", "nsenter", "unshare", "ping")
_AT_ONCE = 4  # hosts that boot at the same time


@dataclass
class RealMachines:
    """The hosts of the cloud in `home`."""

    home: Home
    blueprint: Blueprint
    _kvm: bool = False

    @property
    def agents_address(self) -> str:
        return RACK_ADDRESS

    def ready(self) -> bool:
        return Rack(self.home).running()

    @property
    def extra_peers(self) -> tuple[str, ...]:
        return (RACK_ADDRESS,)

    def check(self) -> None:
        require_root()
        missing = [tool for tool in _TOOLS if which(tool) is None]
        if missing:
            raise BadSetup(
                f"Real guests need {', '.join(missing)}: run script/bootstrap as root, or choose the simulated cloud "
                "(--simulated)."
            )

    def prepare(self, teller: Teller) -> None:
        with teller.stage("guest images") as stage:
            for label in furniture.IMAGES:
                guest_image.build(self.home.guest_image, label, stage.doing)
            stage.done(f"guest images {' and '.join(furniture.IMAGES)} are built")
        if not all(self._host(name).powered() for name in self.blueprint.every_name):
            with teller.stage("trying KVM") as stage:
                accelerator = probe_kvm()
                self._kvm = accelerator.kind == "kvm"
                stage.done(f"guests run by {accelerator.reason}")
        if not self.ready():
            # The rack is also the hosts' power supply: cables to one that died would lead nowhere.
            self._at_once(self.blueprint.every_name, lambda host: host.kill())
        if self.blueprint.witness:
            self.home.witness.mkdir(parents=True, exist_ok=True)
        Rack(self.home).up()

    def agents_socket(self, port: int) -> int:
        return Rack(self.home).listen(port).detach()

    def up(self, names: Sequence[str], strangers: Sequence[str], give_tokens: GiveTokens) -> None:
        for name, token in zip(strangers, give_tokens(len(strangers)) if strangers else [], strict=True):
            invite(self.home.host(name), token)

        def begin(host: Host) -> None:
            host.up()
            self._agent(host).up()

        self._at_once(names, begin)

    def join_network(self, vni: int, gateway_cidr: str) -> None:
        peers = [self._host(name).address for name in self.blueprint.names]
        Rack(self.home).tenant(vni, gateway_cidr, peers)

    def down(self) -> None:
        # Agents first: they end what they are doing, and leave no half-written file in the shared directory.
        self._at_once(self.blueprint.every_name, lambda host: self._agent(host).down())
        self._at_once(self.blueprint.every_name, lambda host: host.kill())
        Rack(self.home).down()

    def look(self, name: str) -> Machine:
        host = self._host(name)
        plugged = not host.directories.unplugged.exists()
        return Machine(name, powered=host.powered(), plugged=plugged, agent=self._agent(host).running())

    def ping(self, address: str) -> bool:
        try:
            return Rack(self.home).exec(["ping", "-n", "-q", "-c1", "-W1", address]).returncode == 0
        except TimeoutExpired:
            return False

    def kill(self, name: str) -> None:
        self._host(name).kill()

    def cut(self, name: str) -> None:
        self._host(name)
        Rack(self.home).cut(name)

    def mute(self, name: str) -> None:
        """Cut the cable one way: the controllers do not hear the host, which hears them."""
        self._host(name).mute()

    def deafen(self, name: str) -> None:
        """Cut the cable the other way: the host does not hear the controllers, who hear it."""
        Rack(self.home).deafen(self._host(name).number)

    def heal(self, name: str) -> None:
        host = self._host(name)
        Rack(self.home).heal(name)
        Rack(self.home).hears(host.number)
        host.speak()

    def exec_argv(self, name: str, argv: Sequence[str]) -> list[str]:
        return self._host(name).exec_argv(argv)

    def _agent(self, host: Host) -> LabAgent:
        ports = [self.blueprint.controller_agents_port(name) for name in self.blueprint.controller_names]
        several = tuple(f"{RACK_ADDRESS}:{port}" for port in ports) if len(ports) > 1 else ()
        armed = self.blueprint.armed and not host.storage
        return LabAgent(host, several, armed, armed and self.blueprint.witness)

    def _host(self, name: str) -> Host:
        return Host(
            self.home,
            name,
            self.blueprint.number(name),
            self._kvm,
            self.blueprint.local_disks,
            storage=name == STORAGE_HOST,
        )

    def _at_once(self, names: Sequence[str], act: Callable[[Host], None]) -> None:
        """Do it to all; the first error is raised when all have ended."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for _ in threads.map(act, [self._host(name) for name in names]):
                pass
