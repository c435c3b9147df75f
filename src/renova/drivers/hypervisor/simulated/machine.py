"""A simulated host as a machine: its power, its guests as they run, and what befalls them with no call of anybody's."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec

from renova.drivers.hypervisor import WATCHDOG_FIRED, DiskLocked
from renova.drivers.hypervisor.simulated.image import Write
from renova.drivers.hypervisor.simulated.storage import SimulatedDisk, SimulatedStorage
from renova.drivers.hypervisor.simulated.witness import Witness
from renova.model.clock import Clock
from renova.model.errors import NotNow, Refused
from renova.model.guest import Capabilities, FoundGuest, Guest, GuestChanged, HostFacts, Nic, PowerState, VolumeDisk
from renova.model.ids import ServerId

ACTIVE = (PowerState.RUNNING, PowerState.PAUSED)
SMALL_HOST = HostFacts(
    hypervisor_type="QEMU",
    hypervisor_version=7002000,
    accelerator="simulated",
    architecture="x86_64",
    capabilities=Capabilities(live_migration=True),
    vcpus=16,
    memory_mb=65536,
    local_gb=1000,
    cpu_info={"arch": "x86_64", "model": "simulated", "vendor": "Renova"},
)


@dataclass
class Domain:
    """A guest as the hypervisor has it defined."""

    guest: Guest
    power: PowerState = PowerState.SHUTDOWN
    saved: bool = False  # its memory, while it is off
    disk: SimulatedDisk | None = None  # what it has open while it runs, even if somebody deletes it
    ready_at: float = 0.0  # when the booting guest reaches userspace
    booted: bool = False
    left: bool = False  # with its memory, for another host
    arriving: bool = False  # its memory has come from another host; it has not executed here
    life: int = 0  # numbers what it was begun anew by: a start, a pause, a reset, the end of its agent
    hangs: bool = False
    without_agent: bool = False  # somebody inside has ended it
    fired: bool = False  # its watchdog, which left it to others
    answered: bool = False  # its agent has, in this life, to whoever asks now

    def has(self, **devices: tuple[VolumeDisk, ...] | tuple[Nic, ...]) -> None:
        """Note what the guest has from now on."""
        self.guest = msgspec.structs.replace(self.guest, **devices)

    def found(self) -> FoundGuest:
        hung = WATCHDOG_FIRED if self.fired and self.power in ACTIVE else ""
        return FoundGuest(
            self.guest.server, self.guest.incarnation, self.power, self.guest.disks.generation, self.arriving, hung
        )


class SimulatedMachine:
    """Runs guests.

    `start_s` is how long starting one takes, `boot_s` how much later it is in userspace, `shut_down_s` how long it
    takes to power off when asked.
    """

    def __init__(
        self, clock: Clock, storage: SimulatedStorage, *, start_s: float, boot_s: float, shut_down_s: float
    ) -> None:
        self._clock = clock
        self._storage = storage
        self._start_s, self._boot_s, self._shut_down_s = start_s, boot_s, shut_down_s
        self._domains: dict[ServerId, Domain] = {}
        self.jobs = WeakValueDictionary[ServerId, asyncio.Lock]()  # each held by the call that is being served
        self._changed: Callable[[GuestChanged], None] | None = None
        self._powered = True
        self.power_cuts = 0
        self._lives = 0
        self._away = False
        self._still = False
        self._frozen_at: float | None = None  # since when its gate is closed
        self.witness = Witness()
        self.on_call: Callable[[str], Awaitable[None]] | None = None  # what slows, fails or kills whoever calls

    def cut_power(self) -> None:
        """Stop the host at once: guests die unannounced, every call fails until `power_on`."""
        for domain in self._domains.values():
            if domain.power in ACTIVE:
                self._release(domain, PowerState.SHUTDOWN)
        self._powered, self._changed = False, None
        self._frozen_at = None
        self.power_cuts += 1

    def power_on(self) -> None:
        """Boot the host again: definitions are there, nothing runs, somebody must `connect` anew."""
        self._powered = True

    def disconnect(self) -> None:
        """Tell nobody anything until the next `connect`: whoever listened was killed, with all that it was doing."""
        self._changed = None
        self._forget_answers()
        self._storage.let_go(self)

    def stand_still(self) -> None:
        """Have the whole host stand still: no guest executes until `go_on`."""
        self._still = True
        self._show_all()

    def go_on(self) -> None:
        """Wake the host: its guests go on where they stood."""
        self._still = False
        self._show_all()

    # Its gate (`drivers.guard.simulated`).

    @property
    def frozen(self) -> bool:
        return self._frozen_at is not None

    def freeze(self) -> None:
        """Have every guest stand still where it is, and who is born from now on be killed before it does anything."""
        if self._frozen_at is None:
            for domain in self._domains.values():
                self._boot(domain)
            self._frozen_at = self._clock.monotonic()
            self._forget_answers()
            self._show_all()

    def thaw(self) -> None:
        """Let them go on where they stood."""
        if self._frozen_at is not None:
            missed = self._clock.monotonic() - self._frozen_at
            self._frozen_at = None
            for domain in self._domains.values():
                domain.ready_at += missed
            self._show_all()

    def active(self) -> dict[ServerId, int]:
        """Return the guests that there are, frozen or not, each with its incarnation."""
        return {server: domain.guest.incarnation for server, domain in self._domains.items() if domain.power in ACTIVE}

    def kill_all(self) -> None:
        """Have every guest die at once."""
        for domain in self._domains.values():
            if domain.power in ACTIVE:
                self._stop(domain, PowerState.CRASHED)

    def _show_all(self) -> None:
        for server, domain in self._domains.items():
            if domain.power is PowerState.RUNNING:
                self.witness.power(server)

    def go_away(self) -> None:
        """Fail every call from now on, as when libvirtd is dead; guests run on."""
        self._away = True
        self._forget_answers()

    def come_back(self) -> None:
        """Answer again, and report the state of every guest."""
        self._away = False
        for domain in self._domains.values():
            self._tell(domain)

    def crash(self, server: ServerId) -> None:
        """Have a running guest's QEMU die."""
        self._stop(self._must_run(server), PowerState.CRASHED)

    def power_off_inside(self, server: ServerId) -> None:
        """Have a running guest power itself off, as its user may."""
        self._stop(self._must_run(server), PowerState.SHUTDOWN)

    def hang(self, server: ServerId) -> None:
        """Have a running guest hang: it executes, and answers nobody."""
        domain = self._must_run(server)
        self._boot(domain)
        domain.hangs = True

    def recover(self, server: ServerId) -> None:
        """Have a guest that hangs go on by itself."""
        self._must_run(server).hangs = False

    def end_agent_inside(self, server: ServerId) -> None:
        """Have somebody inside a running guest end its agent."""
        domain = self._must_run(server)
        domain.without_agent = True
        self._begin_anew(domain)

    def fire_watchdog(self, server: ServerId) -> None:
        """Have a running guest hang, and its watchdog fire."""
        domain = self._must_run(server)
        self.hang(server)
        match domain.guest.watchdog:
            case "reset":
                self._begin_anew(domain)
                domain.hangs, domain.booted = False, False
                domain.ready_at = self._clock.monotonic() + self._boot_s
            case "poweroff":
                self._stop(domain, PowerState.SHUTDOWN)
            case "pause" | "none" as action:
                domain.fired = True
                if action == "pause":
                    domain.power = PowerState.PAUSED
                    self.witness.power(server)
                self._tell(domain)

    def hanging(self) -> dict[ServerId, int]:
        """Return the guests that hang, or whose watchdog fired and left them so, each with its incarnation."""
        return {
            server: domain.guest.incarnation
            for server, domain in self._domains.items()
            if domain.power in ACTIVE and (domain.hangs or domain.fired)
        }

    def hangs_visibly(self, server: ServerId) -> bool:
        """Say whether the guest hangs and whoever asks now can know it: it has answered before in this life."""
        domain = self._active(server)
        silent = domain is not None and domain.hangs and domain.answered and not domain.without_agent
        return silent or (domain is not None and domain.fired)

    def _forget_answers(self) -> None:
        """Note that whoever asks from now on has heard nobody yet."""
        for domain in self._domains.values():
            domain.answered = False

    def _begin_anew(self, domain: Domain) -> None:
        """Note that what was known of the guest's life counts no more."""
        self._lives += 1
        domain.life, domain.fired, domain.answered = self._lives, False, False

    def write(self, server: ServerId, text: str) -> None:
        """Have a running guest write to its root disk."""
        domain = self._must_run(server)
        self._boot(domain)
        assert domain.disk
        domain.disk.writes.append(Write(domain.guest.incarnation, text))

    def executing(self) -> dict[ServerId, int]:
        """Return the guests that execute, each with its incarnation; also while power or libvirtd is away."""
        return {} if self._still or self.frozen else self.in_memory()

    def in_memory(self) -> dict[ServerId, int]:
        """Return those, and the guests of a host that stands still, which will execute when it is woken."""
        return {
            server: domain.guest.incarnation
            for server, domain in self._domains.items()
            if domain.power is PowerState.RUNNING
        }

    def domains(self) -> list[ServerId]:
        """Return the servers of which something is defined here."""
        return list(self._domains)

    def defined(self, server: ServerId) -> int | None:
        """Return the incarnation of the server's guest if it is defined here, whether it executes or not."""
        domain = self._domains.get(server)
        return domain.guest.incarnation if domain else None

    def executes(self, server: ServerId) -> int | None:
        """Return the incarnation of the server's guest if it executes here."""
        domain = self._running(server)
        return domain.guest.incarnation if domain and not self._still and not self.frozen else None

    def has_open(self, disk: SimulatedDisk) -> bool:
        """Say whether a guest here has the disk open."""
        return disk.open_by is self

    def volumes(self, server: ServerId) -> tuple[VolumeDisk, ...]:
        """Return the volumes that the running guest has; none when it does not run."""
        domain = self._active(server)
        return domain.guest.volumes if domain else ()

    def nics(self, server: ServerId) -> tuple[Nic, ...]:
        """Return the nics that the running guest has."""
        domain = self._active(server)
        return domain.guest.nics if domain else ()

    def reach(self, power_cuts: int | None = None) -> None:
        """Raise `NotNow` unless the hypervisor answers, and was not cut off since `power_cuts` were counted."""
        if not self._powered or (power_cuts is not None and power_cuts != self.power_cuts):
            raise NotNow("the host lost its power")
        if self._away:
            raise NotNow("the hypervisor does not answer")

    def _must_not_be_frozen(self) -> None:
        if self.frozen:
            raise NotNow("the guest stands still behind the host's gate, and answers nothing")

    async def _take(self, seconds: float) -> None:
        if seconds > 0:
            power_cuts = self.power_cuts
            await self._clock.sleep(seconds)
            self.reach(power_cuts)

    async def _run(self, domain: Domain, disk: SimulatedDisk) -> None:
        domain.power = PowerState.PAUSED
        try:
            await self._take(self._start_s)
            self._open(domain, disk)
        except BaseException:
            domain.power = PowerState.SHUTDOWN
            raise
        domain.power = PowerState.RUNNING
        self._begin_anew(domain)
        self.witness.power(domain.guest.server)

    def _open(self, domain: Domain, disk: SimulatedDisk) -> None:
        """Have the guest have its disk open, behind a gate that is open."""
        disks = domain.guest.disks
        files = disks.root or disks.ephemerals_gb or disks.swap_mb
        if files and disk.open_by is not None:  # a server that has only volumes opens nothing here
            raise DiskLocked(f"the disk of {domain.guest.server} is open elsewhere: the old guest may live")
        if self.frozen:
            raise NotNow("the host's gate is closed")
        disk.open_by, domain.disk = self, disk

    def _go_on(self, domain: Domain) -> None:
        if domain.power is PowerState.PAUSED and not domain.arriving:
            domain.power = PowerState.RUNNING
            self._begin_anew(domain)
            self.witness.power(domain.guest.server)
            self._tell(domain)

    def _active(self, server: ServerId) -> Domain | None:
        """Return the guest if it runs or stands still: it has its disk open."""
        domain = self._domains.get(server)
        return domain if domain and domain.power in ACTIVE else None

    def _running(self, server: ServerId) -> Domain | None:
        domain = self._domains.get(server)
        return domain if domain and domain.power is PowerState.RUNNING else None

    def _must_run(self, server: ServerId) -> Domain:
        domain = self._running(server)
        if domain is None:
            raise Refused(f"{server} does not run")
        return domain

    def _boot(self, domain: Domain) -> None:
        """Catch up with what the guest has done by now: reach userspace, once, and say so on its console."""
        # Done when somebody looks, not by a timer: a thousand hosts need no thousand tasks.
        if self.frozen or domain.booted or domain.disk is None or self._clock.monotonic() < domain.ready_at:
            return
        domain.booted = True
        domain.disk.writes.append(Write(domain.guest.incarnation, "boot"))
        line = f"GUEST-READY {domain.guest.personal.hostname} boots={domain.disk.boots}\n"
        at = (domain.guest.server, domain.guest.disks.generation)
        self._storage.consoles.setdefault(at, bytearray()).extend(line.encode())

    def _release(self, domain: Domain, power: PowerState) -> None:
        self._boot(domain)
        if domain.disk and domain.disk.open_by is self:  # a server that has only volumes may run elsewhere by now
            domain.disk.open_by = None
        domain.disk, domain.power = None, power
        self.witness.power(domain.guest.server)

    def _stop(self, domain: Domain, power: PowerState) -> None:
        self._release(domain, power)
        self._tell(domain)

    def _tell(self, domain: Domain) -> None:
        # Nothing is heard of a hypervisor that is away; a real one reports all states when it is back.
        if self._changed and not self._away:
            self._changed(
                GuestChanged(domain.guest.server, domain.guest.incarnation, domain.power, domain.found().hung)
            )
