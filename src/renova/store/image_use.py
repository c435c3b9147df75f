"""Which images the servers of each host need below their disks, whether that host lives or not."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Select, select

from renova.model.guest import CachedImage
from renova.model.ids import HostId
from renova.store.database import Tx
from renova.store.migrations import ACTIVE, migrations
from renova.store.rights import debts, rights
from renova.store.servers import servers


class Use(msgspec.Struct, frozen=True):
    """Images by the host that needs them; `anywhere` are those of servers that have no host yet."""

    on: dict[HostId, frozenset[CachedImage]]
    anywhere: frozenset[CachedImage]

    def of(self, hosts: Iterable[HostId]) -> frozenset[CachedImage]:
        """Return what any of these hosts needs."""
        return self.anywhere.union(*(self.on.get(host, frozenset()) for host in hosts))


_IMAGE = (servers.c.image, servers.c.image_format, servers.c.image_sha256)
_ALIVE = (servers.c.deleted.is_(False), servers.c.image.is_not(None))
# Where a server lives, where it may run, where it has yet to be cleaned up, and where it comes from and goes.
_USES: tuple[Select[tuple[str | None, ...]], ...] = (
    select(servers.c.host, *_IMAGE).where(*_ALIVE).distinct(),
    select(rights.c.host, *_IMAGE).join(servers, servers.c.id == rights.c.server).where(*_ALIVE).distinct(),
    select(debts.c.host, *_IMAGE).join(servers, servers.c.id == debts.c.server).where(*_ALIVE).distinct(),
    *(
        select(end, *_IMAGE)
        .join(servers, servers.c.id == migrations.c.server)
        .where(*_ALIVE, migrations.c.status.in_((*ACTIVE, "done")))
        .distinct()
        for end in (migrations.c.source, migrations.c.destination)
    ),
)


def images_in_use(tx: Tx) -> Use:
    """Return the images of all servers that are not deleted."""
    found: dict[HostId | None, set[CachedImage]] = {}
    for number, query in enumerate(_USES):
        for host, image, image_format, sha256 in tx.execute(query):
            if host is not None or number == 0:
                found.setdefault(host, set()).add(CachedImage(image, image_format, sha256))
    anywhere = frozenset(found.pop(None, ()))
    return Use({host: frozenset(images) for host, images in found.items() if host is not None}, anywhere)
