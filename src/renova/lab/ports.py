"""Ports of this machine that nobody uses."""

import random
import socket

# Below those that the kernel lends to outgoing connections: whoever is killed is to have its port again.
_FIRST, _LAST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses now."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(_FIRST, _LAST)  # noqa: S311  (no secret)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
