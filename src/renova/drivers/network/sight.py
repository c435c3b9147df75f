"""Whether machines answer on the underlay, without asking anything of them: evidence of life, and no more.

A machine whose kernel runs accepts a TCP connection or refuses it; one that is off, or behind a wall, does neither. So
no answer proves nothing, and an answer says nothing of the guests there.
"""

import errno
import selectors
import socket
import time
from collections.abc import Sequence

PORT = 9  # discard: hardly anybody listens there, and a refusal is an answer
WAIT_S = 1.5
_UNDER_WAY = (0, errno.EINPROGRESS)
_ALIVE = (0, errno.ECONNREFUSED)


def answering(local: str, addresses: Sequence[str], port: int = PORT) -> tuple[str, ...]:
    """Return the addresses at which a machine answers; for a thread in the host's own network namespace."""
    found: set[str] = set()
    with selectors.DefaultSelector() as selector:
        asked: list[socket.socket] = []
        try:
            for address in addresses:
                asking = _ask(local, address, port)
                if asking is not None:
                    asked.append(asking)
                    selector.register(asking, selectors.EVENT_WRITE, address)
            until = time.monotonic() + WAIT_S
            while selector.get_map() and (left := until - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    selector.unregister(key.fileobj)
                    assert isinstance(key.fileobj, socket.socket)
                    if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in _ALIVE:
                        found.add(key.data)
        finally:
            for each in asked:
                each.close()
    return tuple(address for address in addresses if address in found)


def _ask(local: str, address: str, port: int) -> socket.socket | None:
    """Begin to connect; None where that cannot even begin."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    asking = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if local:
            asking.bind((local, 0))
        error = asking.connect_ex((address, port))
    except OSError:
        error = errno.EADDRNOTAVAIL
    # A refusal may come at once, as from this very machine: then the selector tells it.
    if error in (*_UNDER_WAY, errno.ECONNREFUSED):
        return asking
    asking.close()
    return None
