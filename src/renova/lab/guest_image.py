"""The guest image: a small Linux that boots alone, obeys its config drive, and says on its console how it is.

Built from Debian packages only, in a few seconds. On the serial console it prints

    GUEST-READY <hostname> boots=<n> ip=<address>[,<address>...] image=<label> uptime=<seconds>
    GUEST-DOWN <hostname> uptime=<seconds>

`boots` is counted on its root disk, so it shows whether a server kept its disk. Its files are in `guest_root/`.
"""

import fcntl
import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import TemporaryDirectory

from renova.lab import guest_disk, guest_kernel
from renova.lab.guest_kernel import Kernel
from renova.model.errors import BadSetup

_HERE = Path(__file__).parent
_ROOT = _HERE / "guest_root"
_KERNEL_INPUTS = [_HERE / name for name in ("guest_kernel.py", "guest_disk.py", "initramfs.py", "guest-init.sh")]
_DIRECTORIES = "bin sbin usr/bin usr/sbin dev proc sys run tmp root mnt/config var/www".split()  # noqa: SIM905  (reads better)


def build(out_dir: Path, label: str, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Have the guest image `label` as a qcow2 file in `out_dir`, and return its path.

    Built again only when its files or the packages kept in `out_dir` changed. Images of other labels share all but
    the label. `progress` gets a line for each thing that takes time. Raises BadSetup when the machine lacks a tool.
    """
    if platform.machine() != "x86_64":
        raise BadSetup(f"the guest image is for x86_64, this machine is {platform.machine()}: use the simulated cloud")
    out_dir.mkdir(parents=True, exist_ok=True)
    with _alone(out_dir):
        debs = guest_kernel.packages(out_dir / "packages", progress)
        kernel_hash = _hash(_KERNEL_INPUTS, *(deb.name for deb in debs))
        image_hash = _hash([*_files(_ROOT), Path(__file__)], kernel_hash, label)
        image = out_dir / f"{label}.qcow2"
        stamp = out_dir / f"{label}.built-from"
        if image.exists() and stamp.exists() and stamp.read_text() == image_hash:
            return image
        began = time.monotonic()
        boot, kernel = _kernel(out_dir, debs, kernel_hash, progress)
        _image(kernel, boot, label, image)
        stamp.write_text(image_hash)
        progress(f"built guest image {image.name}, {image.stat().st_size >> 20} MiB, {time.monotonic() - began:.1f} s")
        return image


def _kernel(out_dir: Path, debs: list[Path], wanted: str, progress: Callable[[str], None]) -> tuple[Path, Kernel]:
    """Have the boot partition and the kernel's files, as all labels use them."""
    directory = out_dir / "kernel"
    boot, stamp = directory / "boot.fat", directory / "built-from"
    if not stamp.exists() or stamp.read_text() != wanted:
        progress("unpacking the guest's kernel")
        rmtree(directory, ignore_errors=True)
        guest_disk.boot_partition(guest_kernel.unpack(debs, directory), boot)
        stamp.write_text(wanted)
    return boot, Kernel(directory)


def _image(kernel: Kernel, boot: Path, label: str, image: Path) -> None:
    with TemporaryDirectory(dir=image.parent) as temporary:
        tree, root = Path(temporary, "tree"), Path(temporary, "root.ext4")
        _furnish(tree, kernel, label)
        guest_disk.root_partition(tree, root)
        guest_disk.disk(boot, root, image)


def _furnish(tree: Path, kernel: Kernel, label: str) -> None:
    """Make the root file system's tree."""
    copytree(_ROOT, tree)
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for file in _files(tree):
        # Set here, as an installed package does not keep modes.
        file.chmod(0o755 if file.read_bytes().startswith(b"#!") else 0o644)
    (tree / "etc" / "image-label").write_text(f"{label}\n")
    copytree(kernel.late_modules, tree / "lib" / "guest" / "modules")
    busybox = tree / "bin" / "busybox"
    busybox.write_bytes(kernel.busybox.read_bytes())
    busybox.chmod(0o755)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "sbin" / "init").symlink_to("../bin/busybox")


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _hash(files: Iterable[Path], *more: str) -> str:
    """Hash the names and contents of files of ours, and what more there is."""
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(_HERE)} {len(content)}\n".encode() + content)
    for text in more:
        digest.update(f"{text}\n".encode())
    return digest.hexdigest()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one process at a time build in a directory."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
