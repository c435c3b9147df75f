"""Long-lived processes of a cloud on this machine: started detached, recorded in pid files, stopped by them.

Beside a pid file stands when the process started, so that a pid given to somebody else later is never taken for ours,
let alone killed. A zombie counts as dead once all its threads have ended: then it holds nothing.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from renova.model.errors import NotNow

_KILL_LIMIT_S = 10.0


@dataclass(frozen=True)
class Process:
    """One process, told from all others that may ever have its pid."""

    pid: int
    started: int  # clock ticks after the machine's boot: field 22 of /proc/PID/stat

    def alive(self) -> bool:
        stat = _stat(self.pid)
        return stat is not None and stat.started == self.started and not stat.dead

    def wait(self, limit: float) -> bool:
        """Wait until it is dead, at most `limit` seconds; say whether it is. It need not be our child."""
        return self._end(None, limit)

    def kill(self) -> None:
        """Kill it and wait until it is dead; fine if it is. Raises NotNow should it not die in time."""
        if not self._end(signal.SIGKILL, _KILL_LIMIT_S):
            raise NotNow(f"process {self.pid} did not die within {_KILL_LIMIT_S:.0f} s of SIGKILL")

    def stopped(self) -> bool:
        """Say whether it was stopped (SIGSTOP) and does nothing until it is told to go on."""
        stat = _stat(self.pid)
        return stat is not None and stat.started == self.started and stat.state == "T"

    def name(self) -> str | None:
        """Return what it is called, which is its program's name (15 characters of it); None when it is dead."""
        stat = _stat(self.pid)
        return stat.name if stat is not None and stat.started == self.started and not stat.dead else None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; fine if it is dead."""
        self._end(number, 0)

    def _end(self, number: signal.Signals | None, limit: float) -> bool:
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # Only now: the handle holds on to whoever has the pid, which may be somebody else since long.
            if not self.alive():
                return True
            if number is not None:
                signal.pidfd_send_signal(handle, number)
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(limit * 1000))
        finally:
            os.close(handle)


@dataclass(frozen=True)
class _Stat:
    name: str
    state: str  # of its first thread
    parent: int
    group: int
    threads: int
    started: int

    @property
    def dead(self) -> bool:
        return self.state in "ZX" and self.threads <= 1


def _stat(pid: int) -> _Stat | None:
    """Read /proc/PID/stat; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, field 2, may hold anything, even spaces and brackets: what counts begins after its last bracket.
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    return _Stat(
        name=head.partition("(")[2],
        state=fields[0],
        parent=int(fields[1]),
        group=int(fields[2]),
        threads=int(fields[17]),
        started=int(fields[19]),
    )


def identify(pid: int) -> Process | None:
    """Return the process that has this pid now, None if there is none or only its zombie."""
    stat = _stat(pid)
    return None if stat is None or stat.dead else Process(pid, stat.started)


def parent(child: Process) -> Process | None:
    """Return the parent of a process; None when either is dead."""
    stat = _stat(child.pid)
    return identify(stat.parent) if stat is not None and stat.started == child.started else None


def children(parent: Process) -> list[Process]:
    """Return the children of a process that are alive, oldest first."""
    try:
        pids = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [child for pid in pids if (child := identify(int(pid))) is not None]


def first_child(parent: Process) -> Process | None:
    """Return the oldest child of a process, None if it has none."""
    return next(iter(children(parent)), None)


def record(pid_file: Path, process: Process) -> None:
    """Write the pid file: the pid alone, as people expect. When it started stands beside it, and is written first."""
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    for file, text in ((_started(pid_file), f"{process.pid} {process.started}\n"), (pid_file, f"{process.pid}\n")):
        new = file.with_name(file.name + ".new")
        new.write_text(text)
        new.replace(file)


def recorded(pid_file: Path) -> Process | None:
    """Return the process in a pid file, alive or not; None without such a file, or one that nobody here wrote."""
    try:
        pid = int(pid_file.read_text())
        other, started = map(int, _started(pid_file).read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    return Process(pid, started) if pid == other else None


def _started(pid_file: Path) -> Path:
    return pid_file.with_name(f".{pid_file.stem}.started")


def running(pid_file: Path) -> Process | None:
    """Return the recorded process if it is alive."""
    process = recorded(pid_file)
    return process if process is not None and process.alive() else None


# The shell tells its pid and becomes the program: at the end of its output the pid is known and the log is open.
_BECOME = 'echo $$; log=$1; shift; exec "$@" </dev/null >>"$log" 2>&1'


def start(
    pid_file: Path,
    argv: Sequence[str | Path],
    log: Path,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start a program that outlives us, in a session of its own with output to `log`, and record it.

    `env` is the whole environment (default: ours); `pass_fds` stay open in it under their numbers. The caller
    checks that nothing is running under this pid file. A program that cannot be started leaves its reason in the
    log and raises NotNow only when it is gone already: ask it, or wait for what it promises.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    told = subprocess.run(
        ["setsid", "--fork", "sh", "-c", _BECOME, "sh", str(log), *map(str, argv)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=env,
        pass_fds=pass_fds,
        check=True,
    )
    process = identify(int(told.stdout))
    if process is None:
        raise NotNow(f"{argv[0]} ended at once: {last_lines(log)}")
    record(pid_file, process)
    return process


def stop(pid_file: Path, limit: float = 10.0) -> None:
    """End the recorded process and its process group: ask with TERM, after `limit` seconds KILL. Fine if dead.

    The group matters where the recorded process is only `nsenter`, waiting for the program it started.
    """
    process = recorded(pid_file)
    if process is None:
        return
    for number, patience in ((signal.SIGTERM, limit), (signal.SIGKILL, _KILL_LIMIT_S)):
        members = _group(process)
        if not members:
            break
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        for member in members:
            member.wait(max(0.0, deadline - time.monotonic()))
    if _group(process):
        raise NotNow(f"process {process.pid} did not die within {_KILL_LIMIT_S:.0f} s of SIGKILL")
    pid_file.unlink(missing_ok=True)


def _group(leader: Process) -> list[Process]:
    """List who is alive in the group that `leader` leads or led."""
    stat = _stat(leader.pid)
    if stat is not None and stat.started != leader.started:
        return []  # the pid is somebody else's, so the kernel has seen the group end
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            member = _stat(int(entry.name))
            if member is not None and member.group == leader.pid and not member.dead:
                found.append(Process(int(entry.name), member.started))
    return found


def wait_until(true: Callable[[], bool], limit: float, what: str, pause: float = 0.005) -> None:
    """Ask again and again, `pause` seconds apart, until `true()`; raise NotNow with `what` after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not true():
        if time.monotonic() > deadline:
            raise NotNow(f"{what} (waited {limit:.0f} s)")
        time.sleep(pause)


def last_lines(log: Path, count: int = 5) -> str:
    """Return the end of a log, for an error's message."""
    if not log.exists():
        return f"no log {log}"
    lines = log.read_text(errors="replace").splitlines()
    return " | ".join(lines[-count:]) or f"empty log {log}"
