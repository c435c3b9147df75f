"""The guests of a lab's hosts as the machine below sees them: QEMU processes, whoever believes what of them."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from renova.lab import processes
from renova.lab.home import Home

_UUID = re.compile(rb"\0-uuid\0([0-9a-f-]{36})\0")


def running_guests(hosts: dict[int, str]) -> dict[str, dict[int, str]]:
    """Return QEMU processes of each server on the lab's hosts, by pid; `hosts` names those by their pid namespaces."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            server = _UUID.search(command)
            if server is None or b"qemu" not in command.split(b"\0", 1)[0]:
                continue
            host = hosts.get((entry / "ns" / "pid").stat().st_ino)
        except OSError:
            continue  # it ended meanwhile
        if host is not None:
            found[server[1].decode()][int(entry.name)] = host
    return found


def first_pids(home: Home, names: Iterable[str]) -> dict[str, int]:
    """Return the first process of each of these hosts that is on."""
    found = {name: processes.running(home.pid_file(f"host-{name}")) for name in names}
    return {name: process.pid for name, process in found.items() if process is not None}


def namespaces(pids: dict[str, int]) -> dict[int, str]:
    """Return names of hosts by the numbers of their pid namespaces, given their first processes."""
    found = {}
    for name, pid in pids.items():
        try:
            found[Path(f"/proc/{pid}/ns/pid").stat().st_ino] = name
        except OSError:
            continue
    return found
