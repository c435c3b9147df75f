"""Cached images: those that no server needs are deleted from the hosts (spec: libvirt driver, section 10).

What a controller that died left in the image service itself is deleted, too: files, and images that nobody makes.

What is needed is read from the database, of all servers whose host has this storage: a host that is dead still needs
the images of its servers, which others will bring up on them. The host that deletes looks at the disks, too.
"""

import asyncio
from collections.abc import Sequence

from renova.model.errors import NotNow
from renova.model.host import Host
from renova.model.ids import HostId
from renova.operations.cloud import Cloud
from renova.operations.duties.power_states import hosts_to_ask
from renova.operations.duties.unmade_images import remove_unmade_images
from renova.operations.rounds import Tally
from renova.store import hosts
from renova.store.image_use import images_in_use

ANSWER_S = 600.0  # seconds a host has to look at all its disks, and delete


async def clean_image_caches(cloud: Cloud, tally: Tally) -> None:
    """Have one host of each storage delete what none of them needs."""
    if (swept := await cloud.images.sweep()) > 0:
        tally.find(f"{swept} files in the image service were no image's", mended=True)
    await remove_unmade_images(cloud, tally)
    every = await cloud.database.read(hosts.computing)
    asked: set[str] = set()
    for host in await hosts_to_ask(cloud):
        storage = _storage(host)
        if storage and storage not in asked:
            asked.add(storage)
            tally.looked += 1
            with tally.apart(host=host.name):
                await _clean(cloud, tally, host, [each.id for each in every if _storage(each) == storage])


def _storage(host: Host) -> str:
    return host.facts.storage_id if host.facts else ""


async def _clean(cloud: Cloud, tally: Tally, host: Host, sharing: Sequence[HostId]) -> None:
    use = await cloud.database.read(images_in_use)
    try:
        async with asyncio.timeout(ANSWER_S):
            dropped = await cloud.agents.drop_images(host.id, use.of(sharing), cloud.settings.duties.image_grace)
    except TimeoutError as error:
        raise NotNow("the host does not answer") from error
    for name in dropped:
        tally.find(f"cached image {name} was used by no server", mended=True, host=host.name)
