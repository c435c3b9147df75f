"""Two PostgreSQL servers, one following the other synchronously: what is committed is on both disks.

Each may be the primary; which one is, its data says. While the standby is away nothing commits. A fail-over kills the
primary for certain before the standby takes its place, which goes on alone until `rejoin` makes it two again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from renova.lab import processes
from renova.lab.postgresql import DATABASE, OWNER, PostgreSQL
from renova.model.errors import NotNow

_LIMIT_S = 60.0
# Quickly noticed: a standby that is gone, and a primary that is.
_PATIENCE = {"wal_sender_timeout": "5s", "wal_receiver_timeout": "5s", "wal_retrieve_retry_interval": "200ms"}


@dataclass(frozen=True)
class Pair:
    """A primary and its synchronous standby below `directory`, on two ports; a new object means the same two."""

    directory: Path
    ports: tuple[int, int]
    run: Path  # for pid files
    logs: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def servers(self) -> tuple[PostgreSQL, PostgreSQL]:
        return self._server(1), self._server(2)

    @property
    def primary(self) -> PostgreSQL:
        """The one that takes what is written, or would if it ran."""
        return self.servers[1 if self._throne.exists() and self._throne.read_text() == "2" else 0]

    @property
    def standby(self) -> PostgreSQL:
        one, two = self.servers
        return one if self.primary == two else two

    def url(self, database: str = DATABASE) -> str:
        """Return the address of a database by which clients find the primary, whichever server it is."""
        places = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        password = quote(self.primary.password, safe="")
        return f"postgresql://{OWNER}:{password}@{places}/{database}?target_session_attrs=read-write"

    def up(self) -> None:
        """Have both running, the standby following, and the database there. Nothing that was committed is lost."""
        primary = self.primary
        primary.make()
        primary.start()
        if primary.standby:
            primary.promote()  # a fail-over that was broken off
        if self._following.exists():
            self.standby.start()
            self._bind()
        else:
            self.rejoin()
        primary.have_database()

    def down(self) -> None:
        """Stop both. The primary first: it waits until the standby has all."""
        self.primary.stop()
        self.standby.stop()

    def kill_primary(self) -> None:
        """Kill the primary with -9; `up` has it back."""
        self.primary.kill()

    def kill_standby(self) -> None:
        """Kill the standby with -9; `up` has it back."""
        self.standby.kill()

    def kill(self) -> None:
        """Kill both with -9."""
        for server in self.servers:
            server.kill()

    def fail_over(self) -> None:
        """Kill the primary for certain and have the standby be the primary, alone.

        What was acknowledged before is there afterwards. Raises NotNow, with everything as it was, when the standby
        is not fit for it. What a crash leaves half done, `up` ends.
        """
        primary, standby = self.primary, self.standby
        if not self._following.exists() or not standby.answers():
            raise NotNow("there is no standby that could take over")
        # Whoever is only frozen, or is started again by mistake, would still take writes: that first.
        primary.kill()
        self._following.unlink()
        primary.dethrone()
        self._write(self._throne, str(self.servers.index(standby) + 1))
        standby.promote()

    def rejoin(self) -> None:
        """Have the one that is no longer the primary follow the other, from a fresh copy; commits wait for it again."""
        primary, other = self.primary, self.standby
        other.kill()
        other.follow(primary, _name(other))
        other.start()
        self._bind()
        self._write(self._following, "")

    @property
    def _throne(self) -> Path:
        """Which of the two is the primary: 1, without such a file, or 2."""
        return self.directory / "primary"

    @property
    def _following(self) -> Path:
        """Exists while the standby has all that was acknowledged, since commits wait for it."""
        return self.directory / "following"

    def _write(self, file: Path, text: str) -> None:
        new = file.with_name(file.name + ".new")
        new.write_text(text)
        new.replace(file)

    def _bind(self) -> None:
        """Have commits wait for the standby, once it follows."""
        primary, standby = self.primary, self.standby
        question = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
        what = f"PostgreSQL on port {standby.port} does not follow"
        processes.wait_until(lambda: _name(standby) in primary.ask(question).split(), _LIMIT_S, what, pause=0.1)
        primary.set(synchronous_standby_names=_name(standby))

    def _server(self, number: int) -> PostgreSQL:
        name = f"postgresql{number}"
        return PostgreSQL(
            self.directory / name,
            self.ports[number - 1],
            self.run / f"{name}.pid",
            self.logs / f"{name}.log",
            {**_PATIENCE, **self.settings},
        )


def _name(server: PostgreSQL) -> str:
    """Name a server for the other one."""
    return server.directory.name
