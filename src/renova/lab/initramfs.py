"""What a guest boots with: drivers in the order they load, packed as a cpio archive. Pure, but for reading files."""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
_SIGNED = b"~Module signature appended~\n"


def in_load_order(modules: Path, wanted: Iterable[str]) -> list[Path]:
    """List the files of the wanted kernel modules below `modules`, each after what it depends on.

    A name that has no file is built into the kernel, and left out.
    """
    files = {_canonical(file.stem): file for file in modules.rglob("*.ko")}
    ordered: dict[Path, None] = {}

    def load(name: str) -> None:
        file = files.get(_canonical(name))
        if file is None or file in ordered:
            return
        for dependency in depends(file.read_bytes()):
            load(dependency)
        ordered[file] = None

    for name in wanted:
        load(name)
    return list(ordered)


def depends(module: bytes) -> list[str]:
    """Read which modules a module needs from its own text."""
    found = _DEPENDS.search(module)
    return [name for name in found[1].decode().split(",") if name] if found else []


def unsigned(module: bytes) -> bytes:
    """Return the module without the signature that is appended to it: checking one takes an emulated processor long.

    A kernel that does not insist loads it all the same. The signature is followed by its size, the last four of twelve
    bytes, and a text (linux/module_signature.h).
    """
    if not module.endswith(_SIGNED):
        return module
    end = len(module) - len(_SIGNED)
    return module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]


def _canonical(name: str) -> str:
    return name.replace("-", "_")


def pack(files: Mapping[str, bytes], directories: Iterable[str], links: Mapping[str, str]) -> bytes:
    """Make a gzipped initramfs; all files are executable. Equal input gives equal bytes."""
    entries: list[tuple[str, int, bytes]] = [(name, 0o040755, b"") for name in directories]
    entries += [(name, 0o100755, content) for name, content in sorted(files.items())]
    entries += [(name, 0o120777, target.encode()) for name, target in sorted(links.items())]
    return gzip.compress(b"".join(_cpio(entries)), mtime=0)


def _cpio(entries: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """Write the "newc" format: a header of 6 + 13 x 8 characters, the name, the content, each padded to 4 bytes."""
    for inode, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        path = name.encode() + b"\0"
        numbers = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0]
        header = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
        yield header + bytes(-len(header) % 4)
        yield content + bytes(-len(content) % 4)
