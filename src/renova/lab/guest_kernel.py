"""The part of a guest image that all images share: Debian's cloud kernel, busybox, and how they boot.

Debian packages only, downloaded once and kept; nothing is installed, and root is not needed.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, which
from tempfile import TemporaryDirectory

from renova.lab import initramfs
from renova.model.errors import BadSetup, NotNow

_INIT = Path(__file__).with_name("guest-init.sh")
_KERNEL = "linux-image-cloud-amd64"
_BUSYBOX = "busybox-static"
# Loaded before the root disk can be mounted, so each costs boot time.
_MODULES = "virtio_pci virtio_blk virtio_net isofs vfat nls_cp437 nls_ascii nls_iso8859-1 button evdev".split()  # noqa: SIM905  (reads better)
_MODULES += ["virtio-rng", "virtio_balloon"]
# Loaded only by a guest that finds no config drive on a virtio disk, or whose user_data wants an agent's way out.
_LATE_MODULES = ["ata_piix", "virtio_scsi", "sd_mod", "sr_mod", "virtio_console"]


@dataclass(frozen=True)
class Kernel:
    """Files of one kernel, ready to be put on disks."""

    directory: Path

    @property
    def vmlinuz(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd.gz"

    @property
    def busybox(self) -> Path:
        return self.directory / "busybox"

    @property
    def late_modules(self) -> Path:
        """Modules for the root file system, named in load order."""
        return self.directory / "late"


def packages(directory: Path, progress: Callable[[str], None]) -> list[Path]:
    """Have the Debian packages of kernel and busybox in `directory`: what is there is used, whatever its version."""
    directory.mkdir(parents=True, exist_ok=True)
    kernels = sorted(directory.glob("linux-image-*.deb"))
    busyboxes = sorted(directory.glob(f"{_BUSYBOX}_*.deb"))
    missing = [] if kernels else [_current_kernel()]
    missing += [] if busyboxes else [_BUSYBOX]
    if missing:
        progress(f"downloading {' and '.join(missing)}")
        # As ourselves: apt's own user may not write here.
        _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *missing], directory)
        return packages(directory, progress)
    return [kernels[-1], busyboxes[-1]]


def unpack(debs: Sequence[Path], directory: Path) -> Kernel:
    """Fill `directory` with what guests need of the packages."""
    kernel = Kernel(directory)
    kernel.late_modules.mkdir(parents=True)
    with TemporaryDirectory(dir=directory) as temporary:
        root = Path(temporary)
        for deb in debs:
            _run(["dpkg-deb", "--extract", str(deb), str(root)], directory)
        modules = root / "lib" / "modules"
        early = initramfs.in_load_order(modules, _MODULES)
        late = [file for file in initramfs.in_load_order(modules, _LATE_MODULES) if file not in early]
        copyfile(next((root / "boot").glob("vmlinuz-*")), kernel.vmlinuz)
        copyfile(root / "bin" / "busybox", kernel.busybox)
        kernel.busybox.chmod(0o755)
        for name, file in _numbered(late):
            (kernel.late_modules / name).write_bytes(initramfs.unsigned(file.read_bytes()))
        kernel.initrd.write_bytes(_pack(kernel, early))
    return kernel


def _pack(kernel: Kernel, modules: Sequence[Path]) -> bytes:
    files = {f"modules/{name}": initramfs.unsigned(file.read_bytes()) for name, file in _numbered(modules)}
    files |= {"init": _INIT.read_bytes(), "bin/busybox": kernel.busybox.read_bytes()}
    directories = ["bin", "dev", "modules", "newroot", "proc", "sys"]
    return initramfs.pack(files, directories, links={"bin/sh": "busybox"})


def _numbered(modules: Sequence[Path]) -> list[tuple[str, Path]]:
    """Name files so that the shell's order is theirs."""
    return [(f"{number:02d}-{file.name}", file) for number, file in enumerate(modules)]


def _current_kernel() -> str:
    """Ask which package the name without a version stands for today."""
    answer = _run(["apt-cache", "depends", _KERNEL])
    for line in answer.splitlines():
        word, _, name = line.strip().partition(" ")
        if word == "Depends:" and name.startswith("linux-image-"):
            return name
    raise BadSetup(f"apt knows no package {_KERNEL}: run script/bootstrap, or apt-get update, on Debian amd64")


def _run(argv: Sequence[str], directory: Path | None = None) -> str:
    if which(argv[0]) is None:
        raise BadSetup(f"{argv[0]} is not installed: the guest image is made of Debian packages, on Debian")
    environment = {**os.environ, "LC_ALL": "C"}
    ended = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise NotNow(f"{' '.join(argv)}: {ended.stderr.strip()}")
    return ended.stdout
