"""Bugs of how volumes are served and let go."""

import asyncio
from contextlib import suppress
from typing import Any, cast

from renova.drivers.volume.simulated import SimulatedVolumes
from renova.model.errors import NotNow
from renova.partners.volume import settling
from renova.partners.volume.builtin import BuiltinVolumes
from renova.simulation.hosts import StorageHostVolumes
from renova.store import volume_attachments
from tests.simulation.planted.bugs import Patch, bug

STORAGE = "storage host, line, loses power, agent killed"


@bug("28", "an old export is served beside the new one", "one_export", STORAGE, users=4)
def old_export_stays(patch: Patch) -> None:
    have = SimulatedVolumes.have

    async def keeping(self: SimulatedVolumes, want: Any, images: Any) -> Any:
        before = dict(self.served.get(want.volume, {}))
        done = await have(self, want, images)
        self.served[want.volume] = {**before, **self.served[want.volume]}
        return done

    assert StorageHostVolumes.__mro__[1] is SimulatedVolumes
    patch.setattr(SimulatedVolumes, "have", keeping)


@bug("29", "an export's name is used again", "one_export one_writer", STORAGE, users=4, seeds=80)
def name_again(patch: Patch) -> None:
    connect = BuiltinVolumes.connect

    class Fixed:
        def __init__(self, chance: Any, name: str) -> None:
            self._chance, self._name = chance, name

        def secret(self) -> str:
            return self._name

        def __getattr__(self, name: str) -> Any:
            return getattr(self._chance, name)

    async def fixed(self: BuiltinVolumes, attachment: Any, host: str, address: str) -> Any:
        row = await self._database.read(lambda tx: volume_attachments.attachment(tx, attachment))
        chance = self._chance
        self._chance = cast(Any, Fixed(chance, f"export-{row.volume}" if row else chance.secret()))
        try:
            return await connect(self, attachment, host, address)
        finally:
            self._chance = chance

    patch.setattr(BuiltinVolumes, "connect", fixed)


@bug("d", "a volume counts as settled before its host has confirmed", "at_the_end one_export", STORAGE, users=4)
def settled_unseen(patch: Patch) -> None:
    tell = settling.Settling.tell

    async def unheard(self: Any, volume: Any) -> None:
        with suppress(NotNow):
            async with asyncio.timeout(0.001):
                await tell(self, volume)

    patch.setattr(settling.Settling, "tell", unheard)
