"""Acting inside the namespaces of another process, from this one. Needs root."""

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from renova.model.errors import BadSetup

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000


def enter_net(pid: int) -> None:
    """Move the calling thread to the network namespace of process `pid`, for good. Never the main thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns to the network of process {pid}: {os.strerror(number)}")


def inside_net(pid: int, act: Callable[[], _T]) -> _T:
    """Run `act` in the network namespace of process `pid` and return what it returns.

    Sockets made there belong there for good, wherever they are used afterwards.
    """
    # A thread is moved, not the process: a namespace belongs to a thread, and this one ends with its work.
    outcome: list[_T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            enter_net(pid)
            outcome.append(act())
        except BaseException as error:  # noqa: BLE001  (raised again by the caller)
            failure.append(error)

    thread = threading.Thread(target=body, name=f"in-net-of-{pid}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def apart(pid: int, kind: str) -> bool:
    """Say whether process `pid` is in another namespace of this kind (`net`, `pid`, ...) than we are."""
    try:
        return Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
    except FileNotFoundError:
        return False


def in_net_argv(pid: int, argv: Sequence[str]) -> list[str]:
    """Say how to run a program in the network namespace of `pid`, with our files and processes."""
    return ["nsenter", "--target", str(pid), "--net", "--", *argv]


def in_all_argv(pid: int, argv: Sequence[str]) -> list[str]:
    """Say how to run a program in all namespaces of `pid`; its working directory is /.

    `nsenter` stays outside and waits for it: signals meant for the program must go to its process group.
    """
    return ["nsenter", "--target", str(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--", *argv]


def require_root() -> None:
    """Raise BadSetup unless we may make namespaces."""
    if os.geteuid() != 0:
        raise BadSetup("lab hosts are made of Linux namespaces, which needs root: use sudo, or the simulated cloud")
