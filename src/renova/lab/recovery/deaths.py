"""A host dies with all servers on it, and nobody gives a command: how long it takes until they are up elsewhere."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from renova.cli.hosts import HostsClient
from renova.lab import access, processes
from renova.lab.cloud import LabCloud
from renova.lab.progress import Teller
from renova.lab.recovery.guarding import Guarding
from renova.lab.recovery.lives import Life, Lives, gaps, now
from renova.lab.recovery.servers import Servers
from renova.model.host import ProofKind
from renova.model.recovery import RecoveryState


def _vanish(cloud: LabCloud, host: str) -> None:
    """Have nobody hear or see a host whose guests run on, with the disks that it shares."""
    cloud.cut(host)
    # Else its heart beats on those disks: it would be seen to live, and left on.
    agent = processes.running(cloud.home.pid_file(f"agent-{host}"))
    if agent is not None:
        agent.kill()


def _appear(cloud: LabCloud, host: str) -> None:
    """Have it back, after it was switched off."""
    cloud.heal(host)
    cloud.start(host)


@dataclass(frozen=True)
class Kind:
    """How a host dies, how that is proven, and how much longer than their boots alone its servers may take."""

    name: str
    how: str
    guarding: Guarding
    strike: Callable[[LabCloud, str], None]
    mend: Callable[[LabCloud, str], None]
    proof: ProofKind
    limit_s: float


KINDS = {
    kind.name: kind
    for kind in (
        Kind("bmc", "power cut", Guarding.NONE, LabCloud.kill, LabCloud.start, ProofKind.POWER_OFF, 20.0),
        # That it is silent has to last for `fence_after`, and whoever switches it off may be a slow program.
        Kind("unseen", "unseen, and switched off", Guarding.NONE, _vanish, _appear, ProofKind.POWER_OFF, 60.0),
        Kind("lease", "power cut", Guarding.ARMED, LabCloud.kill, LabCloud.start, ProofKind.LEASE_REVOKED, 55.0),
        Kind("partition", "unplugged", Guarding.ARMED, LabCloud.cut, LabCloud.heal, ProofKind.LEASE_REVOKED, 55.0),
        # The witness has to show it for as long again, and 2 s.
        Kind("witness", "unplugged", Guarding.WITNESSED, LabCloud.cut, LabCloud.heal, ProofKind.LEASE_REVOKED, 89.0),
    )
}


class Death(msgspec.Struct, frozen=True):
    """One host's death, and what became of its servers. Seconds."""

    kind: str
    host: str
    boots_s: float  # the same boots, all at once, without a failure; 0: not tried
    begun_s: float  # from the stroke until the last server's QEMU began on another host
    up_s: float  # until the last server was up
    longer_s: float  # than the boots alone
    limit_s: float
    stages: dict[str, float]  # of the slowest server: detect, prove, plan, start, up
    gap_s: float  # from the end of a server's QEMU to the start of the next, the smallest one
    wrong: list[str]

    @property
    def in_time(self) -> bool:
        """Say whether all were up soon enough: true of a machine that was as busy with the boots alone."""
        return self.longer_s <= self.limit_s

    @property
    def begun_in_time(self) -> bool:
        """Say whether all began soon enough, however busy the machine was with their boots."""
        return self.begun_s <= self.limit_s


class Deaths:
    """Has hosts die, one after the other; the cloud is up, its servers are made, and `lives` looks on."""

    def __init__(self, cloud: LabCloud, servers: Servers, lives: Lives, teller: Teller) -> None:
        self._cloud = cloud
        self._servers = servers
        self._lives = lives
        self._teller = teller
        self._client = HostsClient(access.connect(cloud.home, access.ADMIN))

    def one(self, kind: Kind, host: str) -> Death:
        """Have a host die with all servers; measure, look at what holds, and have the host back."""
        return self.of(kind, host, self._gathered(host))

    def _gathered(self, host: str) -> float:
        """Have all servers on the host, up; returns how long their boots took (seconds)."""
        servers = self._servers
        with self._teller.stage(f"gathering the servers on {host}") as stage:
            servers.gather(host)
            stage.done(f"{len(servers.ids)} servers are on {host}, off")
        with self._teller.stage("booting them at once") as stage:
            boots_s = servers.boot_at_once()
            stage.done("all boot at once, without a failure")
        return boots_s

    def of(self, kind: Kind, host: str, boots_s: float = 0.0) -> Death:
        """Have a host die with the servers that it has, whose boots alone take so long (0: it was not tried)."""
        servers = self._servers
        dying = servers.on(host)
        with self._teller.stage(f"{kind.how}: {host}") as stage:
            boots, began, began_at = servers.boots(), time.monotonic(), now()
            before = {server: boots[server] for server in dying.values()}
            kind.strike(self._cloud, host)
            servers.booted_since(before)
            up_s = time.monotonic() - began
            servers.become("ACTIVE")
            more = f", {up_s - boots_s:.1f} s more than booting" if boots_s else ""
            stage.done(f"{kind.how}: all {len(dying)} are up elsewhere after {up_s:.1f} s{more}")
        recovered = self._recovered(host, dying)
        wrong = [*self._wrong(kind, host, recovered, dying), *self._overlaps()]
        with self._teller.stage(f"{host} comes back") as stage:
            kind.mend(self._cloud, host)
            servers.until(lambda: self._is_clean(host), f"{host} did not come back clean", pause=0.5)
            stage.done(f"{host} is back, and clean")
        wrong += self._overlaps()
        begun = max(self._lives.of(server)[-1].began_s for server in dying.values())
        return Death(
            kind=kind.name,
            host=host,
            boots_s=round(boots_s, 2),
            begun_s=round(begun - began_at, 2),
            up_s=round(up_s, 2),
            longer_s=round(up_s - boots_s, 2),
            limit_s=kind.limit_s,
            stages=_slowest([each["stages"] for each in recovered.values()]),
            gap_s=round(min(self._last_gap(server) for server in dying.values()), 2),
            wrong=list(dict.fromkeys(wrong)),
        )

    def _recovered(self, host: str, dying: dict[str, str]) -> dict[str, dict[str, object]]:
        """Return the newest recovery of each of the servers from this host, once all are told to be up."""

        def newest() -> dict[str, dict[str, object]]:
            found = self._client.recoveries(host=host)
            return {each["server"]: each for each in reversed(found) if each["server"] in dying.values()}

        self._servers.until(
            lambda: all(each["state"] == RecoveryState.UP for each in newest().values()),
            "not every recovery has ended",
            pause=0.5,
        )
        return newest()

    def _wrong(
        self, kind: Kind, host: str, recovered: dict[str, dict[str, object]], dying: dict[str, str]
    ) -> list[str]:
        wrong = []
        for name, server in dying.items():
            if server not in recovered:
                wrong.append(f"{name} came up, and no recovery tells of it")
                continue
            certificate = self._client.recovery(str(recovered[server]["id"]))["certificate"]
            if (certificate["kind"], certificate["withdrawn"]) != (kind.proof, None):
                wrong.append(f"{name} rests on {certificate['kind']}, withdrawn {certificate['withdrawn']}")
            alive = [life.host for life in self._lives.of_now(server)]
            if len(alive) != 1 or host in alive:
                wrong.append(f"{name} runs on {alive or 'no host'}, after {host} died")
        return wrong

    def _overlaps(self) -> list[str]:
        lives = {name: self._lives.of(server) for name, server in self._servers.ids.items()}
        return [f"{name} ran twice: {_told(its)}" for name, its in lives.items() if min(gaps(its), default=0.0) < 0]

    def _last_gap(self, server: str) -> float:
        return gaps(self._lives.of(server))[-1]

    def _is_clean(self, host: str) -> bool:
        found = self._client.host(host)
        return bool(found["up"]) and not found["owes"]


def _slowest(stages: list[object]) -> dict[str, float]:
    """Return the longest time that each stage took of any server."""
    tables = [msgspec.convert(each, dict[str, float | None]) for each in stages]
    names = list(dict.fromkeys(name for table in tables for name in table))
    return {name: round(max(table[name] or 0.0 for table in tables), 2) for name in names}


def _told(lives: list[Life]) -> str:
    return "; ".join(f"on {life.host} from {life.began_s:.2f} to {life.ended_s or float('inf'):.2f}" for life in lives)
