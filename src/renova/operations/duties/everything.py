"""All duties of a controller: a new one is named here, and its interval in `settings.DutyTimes`."""

from collections.abc import Awaitable, Callable

from renova.operations.cloud import Cloud
from renova.operations.duties.allocations import audit_allocations
from renova.operations.duties.attachments import heal_volume_attachments
from renova.operations.duties.evacuations import finish_evacuations
from renova.operations.duties.images import clean_image_caches
from renova.operations.duties.orphans import find_orphans
from renova.operations.duties.port_bindings import heal_port_bindings
from renova.operations.duties.power_states import follow_power_states
from renova.operations.rounds import Duty, Tally
from renova.settings import DutyTimes
from renova.store import cluster

_DUTIES: dict[str, Callable[[Cloud, Tally], Awaitable[None]]] = {
    "power_states": follow_power_states,
    "allocations": audit_allocations,
    "port_bindings": heal_port_bindings,
    "attachments": heal_volume_attachments,
    "evacuations": finish_evacuations,
    "orphans": find_orphans,
    "images": clean_image_caches,
}


def every_duty(cloud: Callable[[], Cloud], times: DutyTimes) -> dict[str, Duty]:
    """Return the duties by name; `cloud` is asked for only when one is done."""
    return {name: Duty(_bound(do, cloud), getattr(times, name)) for name, do in _DUTIES.items()}


def _bound(
    do: Callable[[Cloud, Tally], Awaitable[None]], cloud: Callable[[], Cloud]
) -> Callable[[Tally], Awaitable[None]]:
    async def unless_held(tally: Tally) -> None:
        standing = await cloud().database.read(cluster.get)
        if standing.hold is not None:
            # By a database that may be wrong, nothing is mended.
            tally.find("nothing is looked over while the cluster is on hold", mended=False)
            return
        await do(cloud(), tally)

    return unless_held
