"""Power controllers that operators wired to hosts, one each: kept in the database, their secrets sealed.

Hosts that have none are left to what the setting `power` says of all.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import msgspec

from renova.model.errors import Conflict, Invalid, NotNow, Refused
from renova.model.host import Host
from renova.model.ids import HostId
from renova.model.power import PowerController, Reading, Said, same_system
from renova.power import HostPower, Power, PowerSwitch
from renova.power.seals import Seals
from renova.store import power_controllers
from renova.store.database import Database, Tx

# Makes a switch of address, user, options and secrets; `Invalid` says which of them cannot be.
MakeSwitch = Callable[[str, str, Mapping[str, str], Mapping[str, str]], PowerSwitch]


KEYS_S = 5.0  # seconds in which the keys of secrets have to be read


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator wires to a host."""

    kind: str
    address: str
    username: str
    options: dict[str, str]
    secrets: dict[str, str]


class WiredPower:
    """Knows by what each host's power is read and switched."""

    def __init__(self, database: Database, seals: Seals, kinds: Mapping[str, MakeSwitch], otherwise: Power) -> None:
        self._database = database
        self._seals = seals
        self._kinds = kinds
        self._otherwise = otherwise
        # Of its own: those that all share may hang with the same directory, where images are.
        self._thread = ThreadPoolExecutor(1, "power-keys")

    async def of(self, host: HostId, name: str) -> HostPower | None:
        row = await self._database.read(lambda tx: power_controllers.get(tx, host))
        if row is None:
            return await self._otherwise.of(host, name)
        secrets = await self._opened(row)
        try:
            switch = self._switch(Wish(row.kind, row.address, row.username, row.options, secrets))
        except Refused as error:  # it was wired by another release
            raise NotNow(f"the power controller of host {name} cannot be used: {error}") from error
        by = f"{row.options.get('agent', row.kind)} at {row.address}"
        return HostPower(switch, by, system=row.system, rehearsed_at=row.rehearsed_at or "never")

    async def wire(self, host: Host, wish: Wish, who: str, *, heard: bool) -> Said:
        """Have the host's power switched by this, once it has answered; nothing is changed before.

        `heard`: the host is, so its power must read as on. Returns what was read.
        """
        switch = self._switch(wish)
        await switch.check()
        said = await HostPower(switch, by="").read()
        self._compare(host, said, heard=heard)
        sealed = await asyncio.to_thread(self._seals.seal, msgspec.json.encode(wish.secrets), host.id)

        def work(tx: Tx) -> None:
            power_controllers.put(
                tx,
                host.id,
                kind=wish.kind,
                address=wish.address,
                username=wish.username,
                options=wish.options,
                secrets=tuple(sorted(wish.secrets)),
                sealed=sealed,
                system=said.system,
                who=who,
            )

        await self._database.transact(work)
        return said

    async def reseal(self) -> int:
        """Seal anew what another key than the newest has sealed; returns how much that was."""
        rows = await self._database.read(power_controllers.every)
        newest = await asyncio.to_thread(self._seals.newest) if rows else ""
        old = [row for row in rows if not row.sealed.startswith(f"{newest}:")]
        for row in old:
            secrets = await asyncio.to_thread(self._open, row)
            sealed = await asyncio.to_thread(self._seals.seal, msgspec.json.encode(secrets), row.host)
            await self._database.transact(partial(_replace, row=row, sealed=sealed))
        return len(old)

    async def _opened(self, row: PowerController) -> dict[str, str]:
        """Return the row's secrets; `NotNow` where their key is to be read, and the directory that has it hangs."""
        if self._seals.has_key_of(row.sealed):
            return self._open(row)
        try:
            async with asyncio.timeout(KEYS_S):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._open, row)
        except TimeoutError as error:
            raise NotNow(f"the keys of power controllers have not been read within {KEYS_S:g} s") from error

    def _open(self, row: PowerController) -> dict[str, str]:
        return msgspec.json.decode(self._seals.open(row.sealed, row.host), type=dict[str, str])

    def _switch(self, wish: Wish) -> PowerSwitch:
        make = self._kinds.get(wish.kind)
        if make is None:
            raise Invalid(f"There is no kind {wish.kind!r} of power controller: there are {', '.join(self._kinds)}.")
        return make(wish.address, wish.username, wish.options, wish.secrets)

    @staticmethod
    def _compare(host: Host, said: Said, *, heard: bool) -> None:
        """Raise `Conflict` unless it reads this host's power."""
        if said.reading is Reading.UNKNOWN:
            raise Conflict(f"Nothing was changed, for its power cannot be read: {said.why}.")
        if heard and said.reading is Reading.OFF:
            raise Conflict(f"Nothing was changed: it says off, but host {host.name} is heard. It is another machine's.")
        if said.system and host.system and not same_system(said.system, host.system):
            raise Conflict(
                f"Nothing was changed: its machine has the system UUID {said.system}, host {host.name} has "
                f"{host.system}. Name the right one; or set system_uuid for the host's agent, if its firmware is wrong."
            )


def _replace(tx: Tx, row: PowerController, sealed: str) -> None:
    known = power_controllers.get(tx, row.host)
    if known is not None and known.sealed == row.sealed:  # else it was wired anew meanwhile
        power_controllers.change(tx, row.host, sealed=sealed)
