"""Links of the rack's network: bridges, cables, VXLAN ends.

Every function acts on the network namespace of the thread that calls it (`namespaces.inside_net`) and may run twice.
"""

import errno
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_VXLAN_PORT = 4789
_AGEING_S = 60  # how long a guest that moved in silence is looked for at its old host
_TENANT_MTU = 1450  # 1500 less what VXLAN wraps around a frame
_ANY_MAC = "00:00:00:00:00:00"  # where frames go whose receiver is not known yet


def lay_bridge(name: str, address: str, prefix: int) -> None:
    """Have a bridge that forwards at once, with an address."""
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, "lo"), state="up")
        bridge = _have_bridge(ip, name, _mac(address))
        ip.addr("replace", index=bridge, address=address, prefixlen=prefix)
        ip.link("set", index=bridge, state="up")


def run_cable(port: str, bridge: str, host_pid: int) -> None:
    """Join a host to the bridge by a new veth pair: `port` here, still down, and eth0 there."""
    remove_link(port)
    with IPRoute() as ip:
        ip.link("add", ifname=port, kind="veth", peer={"ifname": "eth0", "net_ns_pid": host_pid})
        ip.link("set", index=_index(ip, port), master=_index(ip, bridge))


def address_host(address: str, prefix: int) -> None:
    """Give the host's end of the cable its address."""
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, "lo"), state="up")
        eth0 = _index(ip, "eth0")
        ip.link("set", index=eth0, address=_mac(address))
        ip.addr("replace", index=eth0, address=address, prefixlen=prefix)
        ip.link("set", index=eth0, state="up")


def set_link(name: str, state: str) -> None:
    """Set a link `up` or `down`."""
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, name), state=state)


def has_link(name: str) -> bool:
    with IPRoute() as ip:
        return _find(ip, name) is not None


def remove_link(name: str) -> None:
    """Have no link of this name."""
    with IPRoute() as ip:
        index = _find(ip, name)
        if index is None:
            return
        try:
            ip.link("del", index=index)
        except NetlinkError as error:
            # A cable also vanishes by itself, some time after its host died.
            if error.code != errno.ENODEV:
                raise


def lose_all_to(address: str) -> None:
    """Have everything lost that is sent from here to an address, though what comes from there arrives."""
    with IPRoute() as ip:
        ip.route("replace", type="blackhole", dst=f"{address}/32")


def lose_nothing_to(address: str) -> None:
    """End `lose_all_to`. Fine if nothing was lost."""
    with IPRoute() as ip:
        try:
            ip.route("del", type="blackhole", dst=f"{address}/32")
        except NetlinkError as error:
            if error.code != errno.ESRCH:
                raise


def lay_tenant(vni: int, underlay: str, device: str, gateway_cidr: str, peers: set[str]) -> None:
    """Have a bridge with the gateway's address and a VXLAN port to exactly these peers."""
    address, prefix = gateway_cidr.split("/")
    with IPRoute() as ip:
        bridge = _have_bridge(ip, _tenant_bridge(vni), _mac(address))
        vxlan = _find(ip, _tenant_vxlan(vni))
        if vxlan is None:
            ip.link(
                "add",
                ifname=_tenant_vxlan(vni),
                kind="vxlan",
                vxlan_id=vni,
                vxlan_local=underlay,
                vxlan_link=_index(ip, device),
                vxlan_port=_VXLAN_PORT,
                vxlan_ageing=_AGEING_S,
            )
            vxlan = _index(ip, _tenant_vxlan(vni))
        for link in (vxlan, bridge):
            ip.link("set", index=link, mtu=_TENANT_MTU)
        _tell_peers(ip, vxlan, peers)
        ip.link("set", index=vxlan, master=bridge, state="up")
        ip.addr("replace", index=bridge, address=address, prefixlen=int(prefix))
        ip.link("set", index=bridge, state="up")


def _tell_peers(ip: Any, vxlan: int, peers: set[str]) -> None:
    entries = [(entry.get("lladdr"), entry.get("dst")) for entry in ip.fdb("dump", ifindex=vxlan)]
    for mac, peer in entries:
        if peer is not None and peer not in peers:
            _forget(ip, vxlan, mac, peer)
    for new in peers - {peer for mac, peer in entries if mac == _ANY_MAC}:
        ip.fdb("append", ifindex=vxlan, lladdr=_ANY_MAC, dst=new)


def _forget(ip: Any, vxlan: int, mac: str, peer: str) -> None:
    try:
        ip.fdb("del", ifindex=vxlan, lladdr=mac, dst=peer)
    except NetlinkError as error:
        # One that was learned from traffic may have aged away meanwhile.
        if error.code != errno.ENOENT:
            raise


def _have_bridge(ip: Any, name: str, mac: str) -> int:
    if _find(ip, name) is None:
        ip.link("add", ifname=name, kind="bridge", address=mac, br_forward_delay=0, br_mcast_snooping=0)
    return _index(ip, name)


def _mac(address: str) -> str:
    """Derive a MAC from an address, so that neighbours need not learn a new one after a restart."""
    return "02:4e:" + IPv4Address(address).packed.hex(":")


def _find(ip: Any, name: str) -> int | None:
    found = ip.link_lookup(ifname=name)
    return found[0] if found else None


def _index(ip: Any, name: str) -> int:
    found = _find(ip, name)
    if found is None:
        raise LookupError(f"there is no link {name} here")
    return found


def _tenant_bridge(vni: int) -> str:
    return f"br{vni}"


def _tenant_vxlan(vni: int) -> str:
    return f"vx{vni}"
