"""The built-in network service, as operations use it: networks to choose from, and the ports of servers.

`api.network` serves the rest of it, on the same tables.
"""

import msgspec

from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import Conflict, NotFound, Refused
from renova.model.guest import Nic
from renova.model.ids import NetworkId, PortId, ProjectId, ServerId
from renova.model.network import Network, Port
from renova.partners.network import Check, PortWish
from renova.store import networks, ports, security_groups
from renova.store.database import Database, Tx
from renova.store.security_groups import DEFAULT


class BuiltinNetworks:
    """Networks and ports, kept in the controller's database."""

    def __init__(self, database: Database, clock: Clock, chance: Chance) -> None:
        self._database = database
        self._chance = chance

    async def network(self, network: NetworkId, project: ProjectId | None) -> Network | None:
        found = await self._database.read(lambda tx: networks.network(tx, network))
        if found is None or project in (None, found.project) or found.shared:
            return found
        return None

    async def available(self, project: ProjectId) -> list[Network]:
        return await self._database.read(lambda tx: networks.every_network(tx, project))

    async def is_taken(self, network: NetworkId, address: str) -> bool:
        return await self._database.read(lambda tx: networks.is_taken(tx, network, address))

    async def port(self, port: PortId, project: ProjectId | None) -> Port | None:
        found = await self._database.read(lambda tx: ports.port(tx, port))
        return found if found is None or project in (None, found.project) else None

    async def ports(self, server: ServerId) -> list[Port]:
        return await self._database.read(lambda tx: ports.of_server(tx, server))

    async def nics(self, server: ServerId) -> tuple[Nic, ...]:
        return await self._database.read(lambda tx: ports.nics(tx, server))

    async def give_port(
        self, server: ServerId, project: ProjectId, index: int, wish: PortWish, zone: str, check: Check | None = None
    ) -> Port:
        def give(tx: Tx) -> Port:
            if check is not None:
                check(tx)
            have = ports.of_nic(tx, server, index)
            if have is not None:
                if have.network != wish.network or wish.port not in (None, have.id):
                    raise Refused(f"Nic {index} of server {server} is port {have.id} already.")
                return have
            if wish.port is not None:
                return self._take(tx, server, index, wish.port, wish.tag, zone)
            return self._make(tx, server, project, index, wish, zone)

        return await self._database.transact(give)

    def _take(self, tx: Tx, server: ServerId, index: int, port: PortId, tag: str | None, zone: str) -> Port:
        found = ports.port(tx, port)
        if found is None:
            raise NotFound(f"Port {port} could not be found.")
        if found.device_id not in ("", server) or ports.is_nic(tx, port):
            raise Conflict(f"Port {port} is still in use.")
        if not found.fixed_ips:
            raise Refused(f"Port {port} requires a FixedIP in order to be used.")
        values = {"device_id": server, "device_owner": f"compute:{zone}"}
        ports.change(tx, port, nic=index, tag=tag, **values)
        return msgspec.structs.replace(found, updated_at=tx.now, **values)

    def _make(self, tx: Tx, server: ServerId, project: ProjectId, index: int, wish: PortWish, zone: str) -> Port:
        network = networks.network(tx, wish.network)
        if network is None:
            raise NotFound(f"Network {wish.network} could not be found.")
        new = ports.NewPort(
            id=PortId(self._chance.uuid()),
            project=project,
            fixed_ips=((None, wish.fixed_ip),),
            device_id=server,
            device_owner=f"compute:{zone}",
            nic=index,
            made_by_compute=True,
            tag=wish.tag,
            security_groups=tuple(self._group(tx, project, each) for each in wish.security_groups or (DEFAULT,)),
        )
        return ports.add(tx, self._chance, network, new)

    def _group(self, tx: Tx, project: ProjectId, wished: str) -> str:
        if wished == DEFAULT:
            return security_groups.default_group(tx, self._chance, project)
        if security_groups.group(tx, wished) is None:
            raise Refused(f"Security group {wished} could not be found.")
        return wished

    async def bind(self, port: PortId, host: str, zone: str) -> None:
        await self._database.transact(lambda tx: ports.change(tx, port, host=host, device_owner=f"compute:{zone}"))

    async def settle(self, server: ServerId, *, active: bool) -> None:
        await self._database.transact(lambda tx: ports.settle(tx, server, "ACTIVE" if active else "DOWN"))

    async def take_port(self, server: ServerId, port: PortId) -> None:
        await self._database.transact(lambda tx: ports.release_port(tx, server, port))

    async def take_ports(self, server: ServerId) -> None:
        await self._database.transact(lambda tx: ports.release_server(tx, server))
