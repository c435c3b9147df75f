"""A lab host: a set of Linux namespaces with its own libvirtd, so that several hosts run on one machine.

Its first process is its power: killing it kills libvirtd, the agent and every guest at once. Its directories are
its disk: domains that were defined are still defined after a power cut, though none runs.
"""

import fcntl
import hashlib
import os
import re
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree, which

from renova.lab import cgroups, links, processes
from renova.lab.home import Home, HostHome
from renova.lab.namespaces import apart, in_all_argv, inside_net, require_root
from renova.lab.rack import RACK_ADDRESS, Rack, host_address
from renova.lab.system_uuid import system_uuid
from renova.model.errors import BadSetup, NotNow

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,11}")  # "to-" and the name must fit an interface name
_INIT = Path(__file__).with_name("host-init.sh")
_END_S = 20.0  # for a killed libvirtd to be gone
_UNSHARE = ["unshare", "--pid", "--mount", "--net", "--uts", "--ipc", "--fork", "--kill-child=KILL"]
_OWN_MOUNTS = ["--mount-proc", "--propagation", "private"]

# For lab hosts only; a real host keeps its security driver. Guests run as root since all hosts share the files.
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = [ ]
cgroup_controllers = [ ]
seccomp_sandbox = 0
stdio_handler = "file"
"""
_LIBVIRTD_CONF = """\
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
# Debian's reserved number for it; its usual package would bring systemd and polkit along.
_LIBVIRT_USER = {
    "passwd": "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n",
    "group": "libvirt-qemu:x:64055:\n",
}


@dataclass(frozen=True)
class Host:
    """One host of the cloud in `home`; a new object means the same host.

    `number` (1 to 253) gives its address on the rack; `kvm` lets its guests use /dev/kvm; with
    `local_disks` it shares its instances directory with nobody. A `storage` host has no libvirtd.
    """

    home: Home
    name: str
    number: int
    kvm: bool = False
    local_disks: bool = False
    storage: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a lab host's name is 1 to 12 of a-z, 0-9 and -, not {self.name!r}")
        if not 1 <= self.number <= 253:
            raise ValueError(f"a lab host's number is 1 to 253, not {self.number}")

    @property
    def address(self) -> str:
        """Its address on the rack's network."""
        return host_address(self.number)

    @property
    def instances(self) -> Path:
        return self.directories.instances if self.local_disks else self.home.instances

    @property
    def directories(self) -> HostHome:
        return self.home.host(self.name)

    @property
    def cgroup(self) -> Path:
        """The cgroup that is the root of the host's own, below that of version 2."""
        cloud = hashlib.sha256(bytes(self.home.path)).hexdigest()[:12]  # of several on one machine
        return Path("renova-lab", cloud, self.name)

    def up(self) -> None:
        """Have the host powered, joined to the rack, and its libvirtd answering; the rack must be up."""
        require_root()
        with self._alone():
            if not self.powered():
                self._boot()
            pid = self._pid()
            if not inside_net(pid, lambda: links.has_link("eth0")):
                Rack(self.home).join(pid, self.name, self.number)
            if not self.storage:
                self._have_libvirtd()

    def kill(self) -> None:
        """Cut the power. On return every process inside is dead and the address is silent. Fine if it is off."""
        process = processes.recorded(self._pid_file)
        if process is None:
            return
        # The kernel kills and reaps the whole pid namespace before its first process ends.
        _first_inside(process).kill()
        with self._alone():
            # Somebody else may have powered it on again meanwhile; the record of the dead one does no harm.
            if not self.powered():
                Rack(self.home).leave(self.name)
                cgroups.remove(self.cgroup)

    def mute(self) -> None:
        """Have nothing of what the host sends reach the controllers, while it hears them; until `speak` or a boot."""
        inside_net(self._pid(), lambda: links.lose_all_to(RACK_ADDRESS))

    def speak(self) -> None:
        """End `mute`. Fine if it was not mute, or is off."""
        if self.powered():
            inside_net(self._pid(), lambda: links.lose_nothing_to(RACK_ADDRESS))

    def powered(self) -> bool:
        return processes.running(self._pid_file) is not None

    def exec_argv(self, argv: Sequence[str]) -> list[str]:
        """Say how to run a program on this host, as `processes.start` or subprocess take it; it begins in /."""
        return in_all_argv(self._pid(), argv)

    @property
    def _pid_file(self) -> Path:
        return self.home.pid_file(f"host-{self.name}")

    def _pid(self) -> int:
        process = processes.running(self._pid_file)
        if process is None:
            raise NotNow(f"host {self.name} is off")
        return process.pid

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two that bring up the same host at once must not boot it twice."""
        self.directories.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directories.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _boot(self) -> None:
        directories = self.directories
        _furnish(directories)
        (directories.etc / "qemu.conf").write_text(f'{_QEMU_CONF}nbd_tls_x509_cert_dir = "{directories.nbd_tls}"\n')
        self.home.libvirt_cache.mkdir(parents=True, exist_ok=True)
        log = self.home.log_file(f"host-{self.name}")
        places = [str(directories.path), str(self.home.libvirt_cache), str(self.cgroup)]
        init = ["sh", str(_INIT), self.name, *places, *(["kvm"] if self.kvm else [])]
        # The file names unshare at first, so that there is no moment when nobody could cut the power.
        unshare = processes.start(self._pid_file, [*_UNSHARE, *_OWN_MOUNTS, *init], log)
        booted = directories.run / "booted"
        try:
            processes.wait_until(lambda: booted.exists() or not unshare.alive(), 20, f"host {self.name} did not boot")
            if not unshare.alive():
                raise NotNow(f"host {self.name} did not boot: {processes.last_lines(log)}")
        except BaseException:
            _first_inside(unshare).kill()
            raise
        processes.record(self._pid_file, _first_inside(unshare))

    def _have_libvirtd(self) -> None:
        if which("libvirtd") is None:
            raise BadSetup("libvirtd is not installed: run script/bootstrap as root")
        libvirtd = self._libvirtd()
        if libvirtd is not None:
            if self._libvirtd_answers():
                return
            # One that was killed a moment ago: while it is dying its socket still accepts, and its files are locked.
            if not libvirtd.wait(_END_S):
                raise NotNow(f"libvirtd of host {self.name} neither answers nor ends: {self._libvirtd_said()}")
        argv = self.exec_argv(["libvirtd", "--daemon", "--pid-file", "/run/libvirt/libvirtd.pid"])
        started = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if started.returncode != 0:
            raise NotNow(f"libvirtd of host {self.name} did not start: {started.stderr.strip()}")
        if not self._libvirtd_answers():
            raise NotNow(f"libvirtd of host {self.name} does not answer: {self._libvirtd_said()}")

    def _libvirtd(self) -> processes.Process | None:
        """Return its libvirtd, be it dying: as a daemon it is a child of the host's first process."""
        first = processes.identify(self._pid())
        daemons = processes.children(first) if first is not None else []
        return next((each for each in daemons if each.name() == "libvirtd"), None)

    def _libvirtd_answers(self) -> bool:
        # It listens before its drivers are ready, and may yet fail: only an answer to a question counts.
        argv = self.exec_argv(["virsh", "--quiet", "--connect", "qemu:///system", "uri"])
        try:
            asked = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        except subprocess.TimeoutExpired:
            return False
        return asked.returncode == 0

    def _libvirtd_said(self) -> str:
        return processes.last_lines(self.directories.log / "libvirtd.log")


def _first_inside(process: processes.Process) -> processes.Process:
    """Return the host's first process, given it or the `unshare` that made it and waits for it."""
    if apart(process.pid, "pid"):
        return process
    return processes.first_child(process) or process


def _furnish(directories: HostHome) -> None:
    """Make the host's directories as they are at the start of a boot."""
    if directories.run.exists():
        rmtree(directories.run)
    for directory in (
        directories.run,
        directories.lib,
        directories.etc / "qemu",
        directories.log,
        directories.agent,
        directories.nbd_tls,
    ):
        directory.mkdir(parents=True, exist_ok=True)
    directories.boot_id.write_text(f"{uuid.uuid4()}\n")
    host_uuid = system_uuid(directories)
    for accounts in ("passwd", "group"):
        (directories.path / accounts).write_text(_with_libvirt_user(accounts))
    (directories.etc / "libvirtd.conf").write_text(f'{_LIBVIRTD_CONF}host_uuid = "{host_uuid}"\n')
    (directories.etc / "libvirt.conf").write_text("")


def _with_libvirt_user(accounts: str) -> str:
    """Return /etc/passwd or /etc/group with the user that Debian's libvirtd insists on, though nothing runs as it."""
    text = Path("/etc", accounts).read_text()
    if re.search("^libvirt-qemu:", text, re.MULTILINE):
        return text
    return text + _LIBVIRT_USER[accounts]
