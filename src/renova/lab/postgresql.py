"""A PostgreSQL server on this machine, made of Debian's package, that can be killed, frozen and started again.

It listens on 127.0.0.1 alone and lets in who has the password. Started by root it runs as Debian's user `postgres`,
which need not be able to reach the directory by its path: it sees it in a mount namespace of its own. The cluster
that the package would make is neither used nor touched.
"""

import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from types import MappingProxyType
from urllib.parse import quote

from renova.lab import processes
from renova.lab.processes import Process
from renova.model.errors import BadSetup, NotNow

ADMIN, OWNER, DATABASE = "postgres", "renova", "renova"
_PACKAGES = Path("/usr/lib/postgresql")
_SEEN_AT = Path("/mnt")  # where the server sees its directory when root started it
_BECOME = """\
cd / && mount --bind "$1" "$2" && user=$3 group=$4 && shift 4 &&
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs -- "$@"
"""
_KEPT, _STANDBY = "kept.conf", "standby.signal"
_LIMIT_S = 60.0
_ASK_S = 10.0

# For tests whose subject is not what outlives a power cut: nothing is written through to the disk.
CARELESS = MappingProxyType({"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"})


def installed() -> bool:
    """Say whether Debian's package is there."""
    return bool(_versions())


def programs() -> Path:
    """Return the directory of the newest PostgreSQL's programs. Raises BadSetup where there is none."""
    found = _versions()
    if not found:
        raise BadSetup("PostgreSQL is not installed: run script/bootstrap --dev as root")
    return found[-1]


def _versions() -> list[Path]:
    """Return the directories of programs, oldest version first."""
    found = [path.parent for path in _PACKAGES.glob("*/bin/postgres") if path.parent.parent.name.isdigit()]
    return sorted(found, key=lambda path: int(path.parent.name))


@dataclass(frozen=True)
class PostgreSQL:
    """One server, which keeps everything in `directory`; a new object means the same server.

    `settings` go into its configuration at each start. Errors: BadSetup, NotNow.
    """

    directory: Path
    port: int
    pid_file: Path
    log: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def password(self) -> str:
        """The password of both users; it is in a file that others cannot read, and nowhere else."""
        return (self.directory / "password").read_text().strip()

    @property
    def standby(self) -> bool:
        """Say whether it follows another server, or would once it runs."""
        return (self.data / _STANDBY).exists()

    def dethrone(self) -> None:
        """Have a server that does not run never again take what is written: it starts as a standby, of nobody."""
        (self.data / "follow.conf").unlink(missing_ok=True)
        self._write(self.data / _STANDBY, "")

    def promote(self) -> None:
        """Have a standby that runs be a primary; on return it takes what is written."""
        self.ask("SELECT pg_promote(true, 60)")
        processes.wait_until(lambda: not self.standby, _LIMIT_S, "the standby was not promoted", pause=0.05)

    def url(self, database: str = DATABASE, user: str = OWNER) -> str:
        """Return the address of a database for its clients, with the password."""
        return f"postgresql://{user}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        """Have its data directory: an empty cluster with the user `renova`, who owns the database `renova`."""
        if self.data.exists():
            return
        self._own(secrets.token_urlsafe(24))
        new = self.directory / "new"
        rmtree(new, ignore_errors=True)
        self.run(
            "initdb",
            *("--pgdata", str(self.seen(new)), "--username", ADMIN, "--pwfile", str(self.seen(self._password_file))),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )
        # Through to the disk in one go, and under its name only when it is whole.
        self.run("initdb", "--sync-only", "--pgdata", str(self.seen(new)))
        new.rename(self.data)

    def follow(self, primary: "PostgreSQL", name: str) -> None:
        """Have a fresh copy of the data of `primary`, which runs, and follow it from the next start on.

        `name` is what the primary calls this standby. What was here before is thrown away.
        """
        self._own(primary.password)
        new = self.directory / "new"
        for old in (new, self.data):
            rmtree(old, ignore_errors=True)
        passwords = self.directory / "pgpass"
        self._write(passwords, f"*:*:*:*:{primary.password}\n")
        source = f"host=127.0.0.1 port={primary.port} user={ADMIN} passfile={self.seen(passwords)}"
        self.run("pg_basebackup", "--pgdata", str(self.seen(new)), "--dbname", source, "--checkpoint", "fast")
        (new / _KEPT).unlink(missing_ok=True)
        self._write(new / "follow.conf", f"primary_conninfo = '{source} application_name={name}'\n")
        self._write(new / _STANDBY, "")
        new.rename(self.data)

    def start(self) -> None:
        """Have it running, and wait until it lets clients in. Fine if it runs."""
        if self.running():
            return
        self._configure()
        argv = self._argv("postgres", "-D", str(self.seen(self.data)))
        process = processes.start(self.pid_file, argv, self.log)
        what = f"PostgreSQL on port {self.port} lets nobody in"
        processes.wait_until(lambda: self.answers() or not process.alive(), _LIMIT_S, what, pause=0.05)
        if not process.alive():
            raise NotNow(f"PostgreSQL on port {self.port} ended: {processes.last_lines(self.log)}")

    def set(self, **settings: str) -> None:
        """Have the running server take these settings instead of its own, and keep them."""
        self._write(self.data / _KEPT, _written(settings))
        self._running().send(signal.SIGHUP)
        for name, value in settings.items():
            what = f"PostgreSQL on port {self.port} did not take {name} = {value}"
            processes.wait_until(lambda: self.ask(f"SHOW {name}") == value, _ASK_S, what, pause=0.05)  # noqa: B023

    def running(self) -> bool:
        return processes.running(self.pid_file) is not None

    def answers(self) -> bool:
        """Say whether it lets clients in."""
        argv = [str(programs() / "pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", str(self.port)]
        return subprocess.run(argv, check=False).returncode == 0

    def stop(self) -> None:
        """End it in good order, whoever is connected. Fine if it does not run."""
        process = processes.running(self.pid_file)
        if process is not None:
            self.thaw()
            process.send(signal.SIGINT)
            if not process.wait(_ASK_S):
                self.kill()
        self.pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill every process of it with -9; on return all are dead. Fine if it does not run."""
        for process in self._stopped():
            process.kill()
        # Nobody may have reaped them yet, and a new server takes the zombie with the pid in this file for a living one.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop every process of it where it stands: connections stay, and nobody is answered."""
        self._stopped()

    def thaw(self) -> None:
        """Have a frozen server go on."""
        for process in reversed(self._family()):
            process.send(signal.SIGCONT)

    def ask(self, sql: str, database: str = ADMIN) -> str:
        """Run SQL as the server's administrator and return what it says, without decoration.

        Raises NotNow when the server does not answer, or refuses.
        """
        argv = [str(programs() / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", sql]
        # Not as arguments, where everybody on the machine would see the password.
        environment = os.environ | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": ADMIN,
            "PGDATABASE": database,
            "PGPASSWORD": self.password,
            "PGCONNECT_TIMEOUT": str(int(_ASK_S)),
        }
        try:
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise NotNow(f"PostgreSQL on port {self.port} does not answer") from None
        if done.returncode != 0:
            raise NotNow(f"PostgreSQL on port {self.port}: {done.stderr.strip()}")
        return done.stdout.strip()

    def have_database(self, name: str = DATABASE) -> None:
        """Have a database of the user `renova`, who may do nothing else."""
        if OWNER not in self.ask("SELECT rolname FROM pg_roles").split():
            # The server hashes it before it writes anything down.
            self.ask(f"SET log_min_error_statement = panic; CREATE ROLE {OWNER} LOGIN PASSWORD '{self.password}'")
        if name not in self.ask("SELECT datname FROM pg_database").split():
            self.ask(f'CREATE DATABASE "{name}" OWNER {OWNER}')

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs on the server's files, as the server's user."""
        done = subprocess.run(self._argv(program, *arguments), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotNow(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")

    def seen(self, path: Path) -> Path:
        """Return the path under which the server itself sees a path below its directory."""
        return _SEEN_AT / path.relative_to(self.directory) if os.geteuid() == 0 else path

    @property
    def _password_file(self) -> Path:
        return self.directory / "password"

    def _argv(self, program: str, *arguments: str) -> list[str]:
        argv = [str(programs() / program), *arguments]
        if os.geteuid() != 0:
            return argv
        user = _user()
        inside = [str(self.directory), str(_SEEN_AT), str(user.pw_uid), str(user.pw_gid)]
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BECOME, "sh", *inside, *argv]

    def _own(self, password: str) -> None:
        """Have the directory and the password, the server's own."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _give(self.directory)
        self._write(self._password_file, f"{password}\n")

    def _write(self, file: Path, text: str) -> None:
        new = file.with_name(file.name + ".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(text)
        _give(new)
        new.replace(file)

    def _configure(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "shared_buffers": "32MB",
            "max_connections": "60",
            "dynamic_shared_memory_type": "posix",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
            **self.settings,
        }
        includes = "".join(f"include_if_exists = '{file}'\n" for file in ("follow.conf", _KEPT))
        self._write(self.data / "postgresql.conf", _written(settings) + includes)

    def _running(self) -> Process:
        process = processes.running(self.pid_file)
        if process is None:
            raise NotNow(f"PostgreSQL on port {self.port} does not run")
        return process

    def _family(self) -> list[Process]:
        """Return the server's processes, the one that makes the others first."""
        process = processes.running(self.pid_file)
        return [] if process is None else [process, *processes.children(process)]

    def _stopped(self) -> list[Process]:
        """Stop all its processes and return them, the one that makes the others first, so that none is missed."""
        process = processes.running(self.pid_file)
        if process is not None:
            process.send(signal.SIGSTOP)
            processes.wait_until(process.stopped, _ASK_S, f"process {process.pid} does not stop")
        family = self._family()
        for each in family[1:]:
            each.send(signal.SIGSTOP)
        return family


def _written(settings: Mapping[str, str]) -> str:
    return "".join(f"{name} = '{value}'\n" for name, value in settings.items())


def _user() -> pwd.struct_passwd:
    """Return the user that PostgreSQL runs as, which is never root."""
    try:
        return pwd.getpwnam(ADMIN)
    except KeyError:
        raise BadSetup(f"There is no user {ADMIN}: install PostgreSQL by script/bootstrap --dev") from None


def _give(path: Path) -> None:
    """Have a file belong to the server's user."""
    if os.geteuid() == 0:
        user = _user()
        os.chown(path, user.pw_uid, user.pw_gid)
