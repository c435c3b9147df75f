"""The switches of simulated hosts: power and cable, worked from other processes through a Unix socket.

One line asks, one answers: `VERB HOST` with a verb of `VERBS`, then `ok VALUE` or `error REASON`. The process of the
simulated hosts serves it; the lab's command line and its power switch ask.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from renova.model.errors import CloudError, NotNow, Refused

VERBS = ("kill", "start", "cut", "heal", "power", "cable")
_LINE_LIMIT = 1000  # bytes
_ANSWER_S = 10.0


class Switchboard(Protocol):
    """Simulated hosts, as an operator in front of the rack has them. `NotFound` for a host that is not there."""

    async def kill(self, host: str) -> None:
        """Cut the power: nothing of the host, its agent and its guests runs on."""
        ...

    async def start(self, host: str) -> None:
        """Have the host booted, with its agent."""
        ...

    async def cut(self, host: str) -> None:
        """Unplug the network: a partition."""
        ...

    async def heal(self, host: str) -> None: ...

    def powered(self, host: str) -> bool: ...

    def plugged(self, host: str) -> bool: ...


async def serve(path: Path, board: Switchboard) -> asyncio.Server:
    """Serve the switches at a Unix socket until the server that is returned is closed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            writer.write(f"{await _answer(board, line)}\n".encode())
            await writer.drain()
        except ConnectionError:
            pass  # who asked has gone
        finally:
            writer.close()

    return await asyncio.start_unix_server(answer, sock=_listener(path), limit=_LINE_LIMIT)


def _listener(path: Path) -> socket.socket:
    # Under its name only when it listens: whoever sees it may ask at once.
    new = path.with_name("new.sock")
    new.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with _short(new) as short:
        listener.bind(short)
    listener.listen()
    new.replace(path)
    return listener


async def _answer(board: Switchboard, line: bytes) -> str:
    verb, _, host = line.decode(errors="replace").strip().partition(" ")
    try:
        match verb:
            case "kill":
                await board.kill(host)
            case "start":
                await board.start(host)
            case "cut":
                await board.cut(host)
            case "heal":
                await board.heal(host)
            case "power":
                return f"ok {'on' if board.powered(host) else 'off'}"
            case "cable":
                return f"ok {'plugged' if board.plugged(host) else 'unplugged'}"
            case _:
                return f"error no verb {verb!r}; there are {', '.join(VERBS)}"
    except CloudError as error:
        return f"error {error}"
    return "ok done"


def ask(path: Path, verb: str, host: str) -> str:
    """Work a switch from another process; returns the value. Raises NotNow when nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX) as client, _short(path) as short:
            client.settimeout(_ANSWER_S)
            client.connect(short)
            client.sendall(f"{verb} {host}\n".encode())
            with client.makefile("r") as reader:
                answer = reader.readline().strip()
    except OSError as error:
        raise NotNow(f"the simulated hosts do not answer ({error}); is the cloud up?") from error
    status, _, value = answer.partition(" ")
    if status != "ok":
        raise Refused(value or "the simulated hosts ended")
    return value


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name a socket by way of its directory: a path may have 107 characters, and a home may be longer."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
