"""Tenant networks out of what Linux has: a bridge for each on every host, joined by VXLAN. Runs in the agent.

A guest's tap device is put on the bridge by libvirt; here are the bridge, its VXLAN port and where that floods to.
Who else has guests on a network is not known, so frames for everybody go to every other host.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import structlog
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from renova.drivers.blocking import in_thread
from renova.drivers.network import bridge_name
from renova.drivers.network.sight import answering
from renova.model.errors import NotNow, Refused
from renova.model.guest import Nic
from renova.model.ids import PortId

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

VXLAN_PORT = 4789
# A guest that moved speaks up at once; this bounds how long a silent one is looked for at its old host.
AGEING_S = 60
EVERYBODY = "00:00:00:00:00:00"
REFUSED = {errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}


class LinuxBridge:
    """The tenant networks of the host whose underlay address is `local`.

    `enter` runs first in the driver's thread: it may move that thread to another network namespace.
    """

    def __init__(self, local: str, enter: Callable[[], None] = lambda: None) -> None:
        self._local = local
        # One thread: calls never overlap, and its namespace is theirs.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network", initializer=enter)
        self._eyes = ThreadPoolExecutor(
            1, thread_name_prefix="underlay", initializer=enter
        )  # who waits holds nobody up
        self._peers: frozenset[str] = frozenset()
        self._plugged: dict[int, set[PortId]] = {}  # ports told of by this process, by vni
        self._ip: Any = None

    async def close(self) -> None:
        """Let go of the kernel; networks stay as they are."""
        await in_thread(self._thread, self._close)
        self._thread.shutdown(wait=False)
        self._eyes.shutdown(wait=False)

    async def peers(self, addresses: Sequence[str]) -> None:
        await self._do(self._tell_all, self._reachable(addresses))

    def _reachable(self, addresses: Sequence[str]) -> frozenset[str]:
        """Return those of the other hosts' addresses to which frames may go.

        Each host says its own, and one that says what the kernel takes from nobody must not keep guests from starting
        here; frames that are sent to this very host would have its guests' addresses looked for outside.
        """
        found = frozenset(addresses) - {self._local}
        family = ip_address(self._local).version
        left_out = {address for address in found if not _is_a_hosts(address, family)}
        if left_out:
            log.warning("hosts left out: their guests cannot be reached at such addresses", addresses=sorted(left_out))
        return found - left_out

    async def answering(self, addresses: Sequence[str]) -> tuple[str, ...]:
        return await in_thread(self._eyes, answering, self._local, addresses)

    async def plug(self, nics: Sequence[Nic]) -> None:
        await self._do(self._plug, nics)

    async def unplug(self, nics: Sequence[Nic]) -> None:
        await self._do(self._unplug, nics)

    async def _do(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with _netlink_errors():
            return await in_thread(self._thread, call, *args, **kwargs)

    # In the thread.

    @property
    def _kernel(self) -> Any:
        if self._ip is None:
            self._ip = IPRoute()
        return self._ip

    def _close(self) -> None:
        if self._ip is not None:
            self._ip.close()
            self._ip = None

    def _tell_all(self, peers: frozenset[str]) -> None:
        self._peers = peers
        for link in self._kernel.get_links(kind="vxlan"):
            if link.get("ifname") == _port_name(_vni(link)):
                self._tell(link["index"])

    def _plug(self, nics: Sequence[Nic]) -> None:
        for nic in nics:
            bridge = self._have_bridge(nic)
            port = self._have_port(nic)
            self._tell(port)
            for link in (port, bridge):
                self._set_mtu(link, nic.mtu)
            self._kernel.link("set", index=port, master=bridge, state="up")
            self._kernel.link("set", index=bridge, state="up")
            self._plugged.setdefault(nic.vni, set()).add(nic.port)

    def _unplug(self, nics: Sequence[Nic]) -> None:
        for nic in nics:
            ports = self._plugged.get(nic.vni, set())
            ports.discard(nic.port)
            # Those of guests about to start have no tap yet; those plugged before a restart of ours have only that.
            if ports:
                continue
            self._plugged.pop(nic.vni, None)
            bridge = self._find(bridge_name(nic.vni))
            if bridge is not None and self._taps(bridge, nic.vni):
                continue
            for name in (_port_name(nic.vni), bridge_name(nic.vni)):
                self._remove(name)

    def _have_bridge(self, nic: Nic) -> int:
        name = bridge_name(nic.vni)
        if self._find(name) is None:
            # Forwards at once, and to everybody: guests do not wait, and nobody here asks who is in which group.
            self._kernel.link("add", ifname=name, kind="bridge", br_forward_delay=0, br_mcast_snooping=0)
        _without_ipv6(name)
        return self._index(name)

    def _have_port(self, nic: Nic) -> int:
        name = _port_name(nic.vni)
        found = self._find(name)
        if found is not None:
            (link,) = self._kernel.get_links(found)
            if _vxlan(link, "local") == self._local:
                return found
            self._remove(name)  # the host's address was another once
        self._kernel.link(
            "add",
            ifname=name,
            kind="vxlan",
            vxlan_id=nic.vni,
            vxlan_local=self._local,
            vxlan_link=self._underlay(),
            vxlan_port=VXLAN_PORT,
            vxlan_ageing=AGEING_S,
        )
        _without_ipv6(name)
        return self._index(name)

    def _set_mtu(self, link: int, mtu: int) -> None:
        try:
            self._kernel.link("set", index=link, mtu=mtu)
        except NetlinkError as error:
            if error.code != errno.EINVAL:
                raise
            raise Refused(f"an MTU of {mtu} does not fit this host's underlay, of which VXLAN takes 50") from error

    def _tell(self, port: int) -> None:
        """Have the port flood to all peers, and send nothing to those that are gone."""
        entries = [(entry.get("lladdr"), entry.get("dst")) for entry in self._kernel.fdb("dump", ifindex=port)]
        for lladdr, address in entries:
            if address is not None and address not in self._peers:
                self._forget(port, lladdr, address)
        for address in self._peers - {address for lladdr, address in entries if lladdr == EVERYBODY}:
            self._kernel.fdb("append", ifindex=port, lladdr=EVERYBODY, dst=address)

    def _forget(self, port: int, lladdr: str, address: str) -> None:
        try:
            self._kernel.fdb("del", ifindex=port, lladdr=lladdr, dst=address)
        except NetlinkError as error:
            if error.code != errno.ENOENT:  # a learned one may have aged away meanwhile
                raise

    def _taps(self, bridge: int, vni: int) -> bool:
        """Say whether anything but the VXLAN port is on the bridge."""
        names = {link.get("ifname") for link in self._kernel.get_links(master=bridge)}
        return bool(names - {_port_name(vni)})

    def _underlay(self) -> int:
        found = list(self._kernel.get_addr(local=self._local)) or list(self._kernel.get_addr(address=self._local))
        if not found:
            raise NotNow("no device of this host has its underlay address", details=self._local)
        return int(found[0]["index"])

    def _remove(self, name: str) -> None:
        index = self._find(name)
        if index is None:
            return
        try:
            self._kernel.link("del", index=index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise

    def _find(self, name: str) -> int | None:
        found = self._kernel.link_lookup(ifname=name)
        return int(found[0]) if found else None

    def _index(self, name: str) -> int:
        found = self._find(name)
        if found is None:
            raise NotNow(f"link {name} was taken away while it was made")
        return found


def _is_a_hosts(text: str, family: int) -> bool:
    """Say whether this can be another host's address on an underlay of this family: 4 or 6."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    nowhere = address.is_loopback or address.is_multicast or address.is_unspecified
    return address.version == family and "%" not in text and not nowhere


def _port_name(vni: int) -> str:
    return f"vx{vni}"


def _vni(link: Any) -> int:
    return int(_vxlan(link, "id") or 0)


def _vxlan(link: Any, name: str) -> Any:
    return link.get(("linkinfo", "data", f"vxlan_{name}"))


def _without_ipv6(name: str) -> None:
    """Keep the host itself out of the tenant network: Linux would give the link an address there by itself."""
    switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if switch.exists():
        switch.write_text("1")


@contextmanager
def _netlink_errors() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        meaning = Refused if error.code in REFUSED else NotNow
        raise meaning("the kernel's network refuses", details=str(error)) from error
