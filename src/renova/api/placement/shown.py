"""What the Placement API shows of all providers at once: its own picture, and what it has worked out of it."""

import threading

import msgspec

from renova.model.provider import ProviderView
from renova.operations.cloud import Cloud
from renova.scheduling.candidates import Forest
from renova.store.database import Tx
from renova.store.picture import Picture

_json = msgspec.json.Encoder()


class Shown:
    """Brought up to date by one reader at a time; what was given away is never changed."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._picture = Picture(lambda: cloud.database.standing)
        self._refreshing = threading.Lock()  # PostgreSQL is read in threads
        self._forest = Forest({})
        self._summaries: dict[str, tuple[ProviderView, msgspec.Raw]] = {}

    async def forest(self) -> Forest:
        """Return all providers as of now."""

        def read(tx: Tx) -> Forest:
            with self._refreshing:
                if self._picture.refresh(tx):
                    self._forest = Forest(dict(self._picture.views))
                return self._forest

        return await self._cloud.database.read(read)

    def summary(self, view: ProviderView) -> msgspec.Raw:
        """Return the provider as candidates show it from 1.29 on, written once until it changes."""
        known = self._summaries.get(view.id)
        if known is not None and known[0] is view:
            return known[1]
        written = msgspec.Raw(
            _json.encode(
                {
                    "resources": {
                        name: {"capacity": stock.capacity, "used": stock.used} for name, stock in view.stocks.items()
                    },
                    "traits": sorted(view.traits),
                    "parent_provider_uuid": view.parent,
                    "root_provider_uuid": view.root,
                }
            )
        )
        self._summaries[view.id] = (view, written)
        return written
