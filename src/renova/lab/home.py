"""Where a cloud on this machine keeps everything: one directory, `RENOVA_HOME`.

Whoever needs a file of the lab asks here for its path; nobody puts one together.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostHome:
    """The private directories of one lab host: its disk. They outlive a power cut, except `run`."""

    path: Path

    @property
    def run(self) -> Path:
        """/run/libvirt inside; emptied at every boot."""
        return self.path / "run"

    @property
    def lib(self) -> Path:
        """/var/lib/libvirt inside."""
        return self.path / "lib"

    @property
    def etc(self) -> Path:
        """/etc/libvirt inside, with the persistent domains' XML."""
        return self.path / "etc"

    @property
    def log(self) -> Path:
        """/var/log/libvirt inside."""
        return self.path / "log"

    @property
    def agent(self) -> Path:
        """State of the agent: the same path inside."""
        return self.path / "agent"

    @property
    def instances(self) -> Path:
        """Disks of its own guests, where hosts share none: the same path inside."""
        return self.path / "instances"

    @property
    def nbd_tls(self) -> Path:
        """The certificates by which its guests reach volumes: the same path inside."""
        return self.path / "nbd-tls"

    @property
    def volumes(self) -> Path:
        """What a storage host holds: the same path inside."""
        return self.path / "volumes"

    @property
    def storage_daemons(self) -> Path:
        """The pid files of what serves its volumes."""
        return self.volumes / "run"

    @property
    def agent_settings(self) -> Path:
        return self.path / "agent.toml"

    @property
    def join_token(self) -> Path:
        """What the agent is enrolled with, once."""
        return self.path / "join-token"

    @property
    def boot_id(self) -> Path:
        """/proc/sys/kernel/random/boot_id inside: a new uuid for each boot."""
        return self.path / "boot_id"

    @property
    def host_uuid(self) -> Path:
        """The uuid libvirt reports as the machine's own; kept for good."""
        return self.path / "host_uuid"

    @property
    def unplugged(self) -> Path:
        """Exists while the host's network cable is cut."""
        return self.path / "unplugged"


@dataclass(frozen=True)
class Home:
    """All paths of one cloud. `path` must be absolute: hosts see the same files under the same names."""

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_absolute():
            raise ValueError(f"the home of a cloud must be an absolute path, not {self.path}")

    @property
    def openrc(self) -> Path:
        return self.path / "openrc"

    @property
    def demo_openrc(self) -> Path:
        return self.path / "demo-openrc"

    @property
    def demo_key(self) -> Path:
        """The private key that fits the key pair `demo-key`."""
        return self.path / "demo-key"

    @property
    def lock(self) -> Path:
        """Held while somebody changes what runs."""
        return self.path / "lock"

    @property
    def clouds_yaml(self) -> Path:
        return self.path / "clouds.yaml"

    @property
    def cloud_json(self) -> Path:
        """Ports, mode and hosts of this cloud."""
        return self.path / "cloud.json"

    @property
    def controller(self) -> Path:
        """What the controller keeps, or several have in common."""
        return self.path / "controller"

    @property
    def database(self) -> Path:
        return self.controller / "renova.db"

    def controller_state(self, controller: str) -> Path:
        """What one of several controllers keeps for itself; the only one has it with all else."""
        return self.controller if controller == "controller" else self.path / "controllers" / controller

    @property
    def postgresql(self) -> Path:
        """The database of several controllers."""
        return self.path / "postgresql"

    @property
    def bmc(self) -> Path:
        """What the BMC of the hosts keeps, where there is one."""
        return self.path / "bmc"

    @property
    def load_balancer(self) -> Path:
        """The configuration of what stands before several controllers."""
        return self.path / "haproxy.cfg"

    def password(self, user: str) -> Path:
        """The password that the controller made for `admin` or `demo`."""
        return self.controller / f"{user}-password"

    @property
    def ca(self) -> Path:
        return self.controller / "ca"

    @property
    def images(self) -> Path:
        return self.controller / "images"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def simulated_socket(self) -> Path:
        return self.run / "simulated.sock"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def witness(self) -> Path:
        """Where controllers show which leases they have revoked, at the same path everywhere."""
        return self.path / "shared" / "witness"

    @property
    def instances(self) -> Path:
        """The instances directory that all lab hosts share, at the same path everywhere."""
        return self.path / "shared" / "instances"

    @property
    def libvirt_cache(self) -> Path:
        """/var/cache/libvirt of all hosts: what libvirt found out about QEMU, asked only once."""
        return self.path / "shared" / "libvirt-cache"

    @property
    def guest_image(self) -> Path:
        return self.path / "guest-image"

    def host(self, name: str) -> HostHome:
        return HostHome(self.path / "hosts" / name)

    def pid_file(self, process: str) -> Path:
        """Where a process is recorded: `controller`, `controller2`, `rack`, `host-NAME`, `agent-NAME`, `bmc`, ..."""
        return self.run / f"{process}.pid"

    def log_file(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    def make(self) -> None:
        """Have the directories; what the controller keeps is readable by its owner only."""
        for directory in (self.run, self.logs, self.instances, self.libvirt_cache, self.guest_image):
            directory.mkdir(parents=True, exist_ok=True)
        for directory in (self.controller, self.ca, self.images):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
