"""Ports of this machine that nobody uses."""

import os
import random
import socket
from collections import deque

# Below those that the kernel lends to outgoing connections: whoever is killed is to have its port again.
_FIRST, _LAST = 20_000, 32_000

# Who is given a port opens it later. Until then others of this machine see by a socket without a file, which is gone
# with this process, that it is taken; the last so many are held, by their descriptors.
_taken: deque[int] = deque(maxlen=200)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses now, nor was given lately."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(_FIRST, _LAST)  # noqa: S311  (no secret)
        if _take(port):
            found.append(port)
    return found


def two_in_a_row() -> int:
    """Return a port that nobody uses now, nor the next one."""
    while True:
        (port,) = free_ports(1)
        if _take(port + 1):
            return port


def _take(port: int) -> bool:
    if not _is_free(port):
        return False
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0renova-port-{port}")
    except OSError:
        name.close()
        return False
    if len(_taken) == _taken.maxlen:
        os.close(_taken.popleft())
    _taken.append(name.detach())
    return True


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
