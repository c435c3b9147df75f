"""One qemu-storage-daemon: a process that serves volumes over NBD to one host, or only copies them; driven over QMP.

It serves nothing that it is not told, ends with whoever started it, and two of a name never run at a time: a new one
first ends what an agent that was killed may have left.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError

from renova.drivers.blocking import in_thread
from renova.model.errors import BadSetup, NotNow, Refused
from renova.model.ids import HostId

log = structlog.get_logger()

PROGRAM = "qemu-storage-daemon"
START_S, END_S = 10.0, 5.0
CUT_S = 30.0  # for a client to be cut off: its requests that are under way end first


@dataclass(frozen=True)
class Door:
    """Where a daemon listens, and to whom alone: with `tls`, to the host with a certificate made out to this id.

    `tls` is a directory with ca-cert.pem, server-cert.pem and server-key.pem. NBD lists names to whoever is let in.
    """

    address: str
    port: int
    host: HostId
    tls: Path | None


class Daemon:
    """A daemon behind this door, or behind none: then nobody reaches it. `lost` is called when it ended by itself.

    `run` is the directory of its pid file and log, `name` is how they are called.
    """

    def __init__(self, run: Path, name: str, door: Door | None, lost: Callable[[], None]) -> None:
        self._pid_file = run / f"{name}.pid"
        self._log_file = run / f"{name}.log"
        self._door = door
        self._lost = lost
        self._process: asyncio.subprocess.Process | None = None
        self._qmp: QMPClient | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    async def start(self) -> None:
        """Start it, and return when it serves. `NotNow` with its own last words when it does not, or too slowly;
        `BadSetup` when it is not installed."""
        await in_thread(None, _end_former, self._pid_file)
        ours, its = socket.socketpair()
        with its:
            its.set_inheritable(True)
            self._process = await self._spawn(its.fileno())
        client = QMPClient("storage")
        client.events.event_filter = lambda _event: False  # else it would keep every event for ever
        try:
            async with asyncio.timeout(START_S):
                await client.connect(ours)
        except BaseException as error:
            ours.close()
            await self._kill()
            if not isinstance(error, QMPError | TimeoutError):
                raise
            raise NotNow(f"{PROGRAM} does not start: {await in_thread(None, _last_line, self._log_file)}") from error
        self._qmp = client
        self._ended.clear()
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="storage-daemon")

    async def _spawn(self, qmp: int) -> asyncio.subprocess.Process:
        options = [
            *("--chardev", f"socket,id=qmp,fd={qmp}", "--monitor", "chardev=qmp"),
            *("--pidfile", str(self._pid_file)),
            *_options(self._door),
        ]
        # Killed with the agent, even by kill -9: nothing may be served that nobody can cut off.
        argv = ["setpriv", "--pdeathsig", "KILL", PROGRAM, *options]
        try:
            with self._log_file.open("wb") as output:
                return await asyncio.create_subprocess_exec(
                    *argv, pass_fds=[qmp], stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
                )
        except FileNotFoundError as error:
            raise BadSetup(
                f"{PROGRAM} cannot be started: {error}. Install qemu-system-common and util-linux."
            ) from error
        except OSError as error:
            raise NotNow(f"{PROGRAM} cannot be started", details=str(error)) from error

    async def _watch(self) -> None:
        process = self._process
        assert process is not None
        status = await process.wait()
        log.error("storage daemon ended", status=status, reason=await in_thread(None, _last_line, self._log_file))
        self._ended.set()
        await self._disconnect()
        self._lost()

    async def stop(self) -> None:
        """End it; every client is cut off."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None
        self._ended.set()
        await self._kill()
        await self._disconnect()

    async def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _disconnect(self) -> None:
        client, self._qmp = self._qmp, None
        if client is not None:
            with contextlib.suppress(QMPError, EOFError, OSError):
                await client.disconnect()

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Have it do this. `Refused` with its reason; `NotNow` when it is away."""
        if self._qmp is None:
            raise NotNow(f"{PROGRAM} is away")
        try:
            return await self._qmp.execute(
                command, {name.replace("_", "-"): value for name, value in arguments.items()}
            )
        except ExecuteError as error:
            raise Refused(f"{PROGRAM} refused {command}", details=str(error)) from error
        except (QMPError, EOFError, OSError) as error:
            raise NotNow(f"{PROGRAM} is away") from error

    async def exports(self) -> dict[str, dict[str, Any]]:
        """Return what is served, by id."""
        return {each["id"]: each for each in await self.execute("query-block-exports")}

    async def cut(self, export: str) -> None:
        """Have no export of this id: its clients are cut off for certain once this returns."""
        with self._listening("BLOCK_EXPORT_DELETED") as events:
            if export not in await self.exports():
                return
            with contextlib.suppress(
                Refused
            ):  # one who was cancelled may have begun it; whether it ends is what counts
                await self.execute("block-export-del", id=export, mode="hard")
            try:
                async with asyncio.timeout(CUT_S):
                    await self._event(events, lambda data: data["id"] == export)
            except TimeoutError as error:
                raise NotNow(f"export {export} is still being cut off") from error
        if export in await self.exports():
            raise NotNow(f"export {export} is still there")

    async def copy(self, job: str, source: str, target: str) -> None:
        """Copy one node to another of its size, as it is at one moment now, whoever writes it meanwhile."""
        with self._listening("JOB_STATUS_CHANGE") as events:

            async def concluded() -> None:
                await self._event(events, lambda data: data["id"] == job and data["status"] == "concluded")

            nodes = {"device": source, "target": target}
            try:
                await self.execute("blockdev-backup", job_id=job, sync="full", auto_dismiss=False, **nodes)
                await concluded()
            except asyncio.CancelledError:
                with contextlib.suppress(Refused, NotNow):
                    await self.execute("job-cancel", id=job)
                    await concluded()
                    await self.execute("job-dismiss", id=job)
                raise
            found = [each for each in await self.execute("query-jobs") if each["id"] == job]
            await self.execute("job-dismiss", id=job)
        if found and (error := found[0].get("error")):
            raise Refused("the copy failed", details=str(error))

    @contextlib.contextmanager
    def _listening(self, name: str) -> Iterator[EventListener]:
        if self._qmp is None:
            raise NotNow(f"{PROGRAM} is away")
        with self._qmp.listener((name,)) as events:
            yield events

    async def _event(self, events: EventListener, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
        """Wait for the event that is wanted; `NotNow` when the daemon ends first."""
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            while True:
                coming = asyncio.ensure_future(events.get())
                try:
                    await asyncio.wait([coming, ended], return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        raise NotNow(f"{PROGRAM} ended")
                    data = coming.result()["data"]
                finally:
                    coming.cancel()
                if isinstance(data, dict) and wanted(data):
                    return
        finally:
            ended.cancel()


def _options(door: Door | None) -> list[str]:
    if door is None:
        return []
    server = f"addr.type=inet,addr.host={door.address},addr.port={door.port}"
    if door.tls is None:
        return ["--nbd-server", server]
    only = {"qom-type": "authz-simple", "id": "only", "identity": f"CN={door.host}"}
    return [
        *("--object", f"tls-creds-x509,id=tls,endpoint=server,verify-peer=on,dir={door.tls}"),
        *("--object", json.dumps(only)),
        *("--nbd-server", f"{server},tls-creds=tls,tls-authz=only"),
    ]


def end_all(run: Path) -> None:
    """End every daemon that an agent may have left which was killed itself, whatever its name; blocks."""
    for pid_file in run.glob("*.pid"):
        _end_former(pid_file)
        pid_file.unlink(missing_ok=True)


def _end_former(pid_file: Path) -> None:
    """End the daemon that an agent may have left which was killed itself. It holds its pid file locked; blocks."""
    pid_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with pid_file.open("ab+") as file:
        for _ in range(int(END_S / 0.05)):
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                with contextlib.suppress(ProcessLookupError, ValueError):
                    os.kill(int(file.read()), signal.SIGKILL)
                time.sleep(0.05)
            else:
                return
    raise NotNow(f"Another {PROGRAM} holds {pid_file} and cannot be ended. End it.")


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "it said nothing"
