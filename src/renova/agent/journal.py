"""What a host must never forget, written and synced before it acts: the highest numbers it ever obeyed.

The agent reads it on start and before each command. `FileJournal` keeps one small file a server and one for the host:

    <directory>/host.json              the host's page
                servers/<server>.json  a page each; a removed server's page stays, so that it stays dead
                things/<id>.json       a page each volume and snapshot that a storage host holds or held
                lock                   held by the agent that runs

A journal that was lost or damaged gets a new id: controllers then know that this host may obey what it obeyed before.
"""

import fcntl
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol, TypeVar

import msgspec
import structlog

from renova.drivers.blocking import in_thread
from renova.durable import DAMAGED, sync_directory, write_whole
from renova.model.chance import Chance
from renova.model.errors import Broken, NotNow, unusable, whole
from renova.model.guest import Nic
from renova.model.ids import ServerId, SnapshotId, VolumeId

log = structlog.get_logger()


class ServerPage(msgspec.Struct, frozen=True):
    """What is known of a server: the newest order, the incarnations that are dead, and nics to take away again."""

    incarnation: int = 0
    number: int = 0
    epoch: int = 0
    burnt: int = 0  # this incarnation and all below it are dead
    nics: tuple[Nic, ...] = ()
    era: int = 0  # of the newest order; operations are numbered anew in each


class ThingPage(msgspec.Struct, frozen=True):
    """What is known of a volume or a snapshot: the newest version of what was wanted of it."""

    version: int = 0


class HostPage(msgspec.Struct, frozen=True):
    """What is known of the host itself."""

    journal: str  # made once
    era: int = 0  # highest seen
    epoch: int = 0  # of the host's lease, highest seen
    boot: str = ""  # in which the page was written


class Journal(Protocol):
    """Keeps the pages. What a `write` returned from survives any crash and power cut; `NotNow` when it cannot."""

    async def open(self) -> HostPage:
        """Return the host's page, made anew with a new id when the journal was lost or is damaged.

        `NotNow` while another agent has it open, or the place is away; `BadSetup` when it can never be used.
        """
        ...

    async def close(self) -> None: ...
    async def write_host(self, page: HostPage) -> None: ...

    async def server(self, server: ServerId) -> ServerPage:
        """Return the server's page; an empty one when nothing was ever heard of it."""
        ...

    async def write_server(self, server: ServerId, page: ServerPage) -> None: ...

    async def thing(self, thing: VolumeId | SnapshotId) -> ThingPage:
        """Return the page of a volume or snapshot; an empty one when nothing was ever heard of it."""
        ...

    async def write_thing(self, thing: VolumeId | SnapshotId, page: ThingPage) -> None: ...


class MemoryJournal:
    """A journal for the simulation: it survives the agent, as a file survives a process."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._host: HostPage | None = None
        self._servers: dict[ServerId, ServerPage] = {}
        self._things: dict[str, ThingPage] = {}
        self.losses = 0  # how often it has forgotten everything
        self.written: Callable[[str, ServerId, ServerPage], None] = lambda _journal, _server, _page: (
            None
        )  # told of each

    async def open(self) -> HostPage:
        if self._host is None:
            self._host = HostPage(self._chance.uuid())
        return self._host

    async def close(self) -> None:
        pass

    async def write_host(self, page: HostPage) -> None:
        self._host = page

    async def server(self, server: ServerId) -> ServerPage:
        return self._servers.get(server, ServerPage())

    async def write_server(self, server: ServerId, page: ServerPage) -> None:
        self._servers[server] = page
        self.written(self._host.journal if self._host else "", server, page)

    def page(self, server: ServerId) -> ServerPage:
        """Return what is known of the server."""
        return self._servers.get(server, ServerPage())

    async def thing(self, thing: VolumeId | SnapshotId) -> ThingPage:
        return self._things.get(thing, ThingPage())

    async def write_thing(self, thing: VolumeId | SnapshotId, page: ThingPage) -> None:
        self._things[thing] = page

    def lose(self) -> None:
        """Forget everything, as when the host's disk was replaced."""
        self._host, self._servers, self._things = None, {}, {}
        self.losses += 1


class FileJournal:
    """A journal in files of its own directory. Pages are read when asked for, so its memory does not grow."""

    def __init__(self, directory: Path, chance: Chance) -> None:
        self._directory = directory
        self._servers = directory / "servers"
        self._things = directory / "things"
        self._chance = chance
        self._lock: IO[bytes] | None = None

    async def open(self) -> HostPage:
        return await in_thread(None, self._open)

    async def close(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    async def write_host(self, page: HostPage) -> None:
        await in_thread(None, _write, self._directory / "host.json", page)

    async def server(self, server: ServerId) -> ServerPage:
        return await in_thread(None, _read, _path(self._servers, server), ServerPage) or ServerPage()

    async def write_server(self, server: ServerId, page: ServerPage) -> None:
        await in_thread(None, _write, _path(self._servers, server), page)

    async def thing(self, thing: VolumeId | SnapshotId) -> ThingPage:
        return await in_thread(None, _read, _path(self._things, thing), ThingPage) or ThingPage()

    async def write_thing(self, thing: VolumeId | SnapshotId, page: ThingPage) -> None:
        await in_thread(None, _write, _path(self._things, thing), page)

    def _open(self) -> HostPage:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._hold()
            return self._checked()
        except OSError as error:
            raise unusable(
                error, f"the agent's journal in {self._directory} cannot be used: {error.strerror}"
            ) from error

    def _hold(self) -> None:
        if self._lock is None:
            lock = (self._directory / "lock").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.close()
                # It may be one that was killed, and cannot end while storage does not answer.
                raise NotNow(f"another agent runs with the journal in {self._directory}; stop it first") from error
            self._lock = lock

    def _checked(self) -> HostPage:
        """Read every page once; what cannot be read is set aside and makes the journal another one."""
        host, whole = _read_or_set_aside(self._directory / "host.json", HostPage)
        for pages, kind in ((self._servers, ServerPage), (self._things, ThingPage)):
            if not pages.exists():
                pages.mkdir(mode=0o700)
                sync_directory(self._directory)
                whole = False
            for path in pages.iterdir():
                if path.suffix == ".json":
                    whole = _read_or_set_aside(path, kind)[1] and whole
                elif path.suffix == ".new":
                    path.unlink()  # a write that a crash ended: whoever asked for it was never told that it was done
        if host is None or not whole:
            page = msgspec.structs.replace(host or HostPage(""), journal=self._chance.uuid())
            log.warning("journal begun anew", old=host.journal if host else None, new=page.journal)
            _write(self._directory / "host.json", page)
            return page
        return host


P = TypeVar("P", bound=msgspec.Struct)


def _path(pages: Path, thing: str) -> Path:
    # An id comes from outside and becomes a path: nothing but a uuid will do.
    return pages / f"{uuid.UUID(thing)}.json"


def _read(path: Path, kind: type[P]) -> P | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except DAMAGED as error:
        raise Broken("a page of the host's journal is damaged", details=f"{path}: {error}") from error


def _read_or_set_aside(path: Path, kind: type[P]) -> tuple[P | None, bool]:
    try:
        return _read(path, kind), True
    except Broken as error:
        log.error("journal page set aside", page=str(path), reason=whole(error))
        path.rename(path.with_suffix(".damaged"))
        return None, False


def _write(path: Path, page: msgspec.Struct) -> None:
    try:
        write_whole(path, msgspec.json.encode(page))
    except OSError as error:
        raise NotNow("the host's journal cannot be written", details=f"{path}: {error.strerror}") from error
