"""What must hold of a cloud that is mended and calm: what it says, against what hosts, disks and database show."""

import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from renova.lab.blueprint import STORAGE_HOST
from renova.lab.chaos.client import Client
from renova.lab.chaos.rows import unfinished
from renova.lab.chaos.users import Book, Request
from renova.lab.cloud import LabCloud
from renova.model.errors import NotNow

_FINAL_MIGRATIONS = {"completed", "done", "failed", "error", "cancelled"}
_VIRSH_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """How the operations ended, by kind; and what is not as it must be, of so many things that were looked at."""

    done: Counter[str]
    failed: Counter[str]
    lost: list[str]
    violations: list[str]
    looked_at: dict[str, int]


@dataclass(frozen=True)
class Shown:
    """What a host shows: the servers of its domains; and of those that run, which volumes each has."""

    defined: set[str]
    running: dict[str, set[str]]


def outcome(cloud: LabCloud, client: Client, book: Book) -> Outcome:
    """Look over everything. Raises `Away` or NotNow while something cannot be asked."""
    servers = {each["id"]: each for each in _all(client, "/servers/detail?all_tenants=1", "servers")}
    shown = {host: _shown(cloud, host) for host in cloud.plan.names}
    done, failed = Counter[str](), Counter[str]()
    lost: list[str] = []
    for request in book.accepted:
        _judge(client, request, done, failed, lost)
    listed = client.ask("GET", "/volume/v3/volumes/detail").body["volumes"]
    violations = [
        *_hosts(client),
        *_existence(servers, book, lost),
        *_states(servers),
        *_runs(servers, shown),
        *_disks(cloud, servers),
        *_ports(client, servers),
        *_allocations(client, servers),
        *_volumes(listed, servers, shown),
        *_contents(cloud, listed),
        *_migrations(client),
        *unfinished(cloud.control.database.url()),
    ]
    looked_at = {
        "servers": len(servers),
        "guests that ran": sum(len(each.running) for each in shown.values()),
        "volumes": len(listed),
        "attached": sum(len(volume["attachments"]) for volume in listed),
        "accepted operations": len(book.accepted),
    }
    return Outcome(done, failed, lost, violations, looked_at)


def _judge(client: Client, request: Request, done: Counter[str], failed: Counter[str], lost: list[str]) -> None:
    """Find how something ended that was accepted."""
    answer = client.compute("GET", f"/servers/{request.server}/os-instance-actions/{request.request}")
    if answer.status == HTTPStatus.NOT_FOUND:
        lost.append(f"{request.kind} of {request.server} was accepted as {request.request}, and no action tells of it")
        return
    events = answer.body["instanceAction"]["events"]
    if not events or any(event["finish_time"] is None for event in events):
        lost.append(f"{request.kind} of {request.server}, accepted as {request.request}, never ended")
    elif all(event["result"] == "Success" for event in events):
        done[request.kind] += 1
    else:
        failed[request.kind] += 1


def _hosts(client: Client) -> list[str]:
    services = [
        *client.compute("GET", "/os-services?binary=nova-compute").body["services"],
        *client.ask("GET", "/volume/v3/os-services").body["services"],
    ]
    return [f"host {each['host']} is {each['state']}" for each in services if each["state"] != "up"]


def _existence(servers: dict[str, Any], book: Book, lost: list[str]) -> list[str]:
    lost += [
        f"server {server} ({name}) was accepted, and is not there"
        for server, name in book.servers.items()
        if server not in servers and server not in book.deleting
    ]
    deleted = {request.server for request in book.accepted if request.kind == "delete"}
    lost += [f"server {server} was to be deleted, and is there" for server in deleted & servers.keys()]
    return [
        f"server {server} is there, and nobody asked for it"
        for server, found in servers.items()
        if found["name"] not in book.names
    ]


def _states(servers: dict[str, Any]) -> list[str]:
    return [
        f"server {server} is {found['status']}, task {found['OS-EXT-STS:task_state']}"
        for server, found in servers.items()
        if found["OS-EXT-STS:task_state"] is not None or found["status"] not in ("ACTIVE", "SHUTOFF", "ERROR")
    ]


def _runs(servers: dict[str, Any], shown: dict[str, Shown]) -> list[str]:
    found = []
    for server, place in servers.items():
        host = place["OS-EXT-SRV-ATTR:host"]
        runs = [name for name, each in shown.items() if server in each.running]
        should = place["status"] == "ACTIVE"
        if should and runs != [host]:
            found.append(f"server {server} is ACTIVE on {host}, and runs on {runs or 'no host'}")
        if place["status"] == "SHUTOFF" and runs:
            found.append(f"server {server} is SHUTOFF, and runs on {runs}")
        found += [
            f"server {server} is on {host}, and {name} has a guest of it"
            for name, each in shown.items()
            if server in each.defined and name != host
        ]
    known = servers.keys()
    found += [f"{name} has a foreign guest {each}" for name in shown for each in shown[name].defined - known]
    return found


def _shown(cloud: LabCloud, host: str) -> Shown:
    def virsh(*arguments: str) -> str:
        argv = ["virsh", "--quiet", "--connect", "qemu:///system", *arguments]
        done = subprocess.run(
            cloud.exec_argv(host, argv), capture_output=True, text=True, timeout=_VIRSH_S, check=False
        )
        if done.returncode != 0:
            raise NotNow(f"libvirt of {host}: {done.stderr.strip()}")
        return done.stdout

    running = virsh("list", "--uuid", "--state-running").split()
    return Shown(
        set(virsh("list", "--uuid", "--all").split()),
        {server: volumes_of_domain(virsh("dumpxml", server)) for server in running},
    )


def volumes_of_domain(xml: str) -> set[str]:
    """Return the volumes that a domain has, by their serial numbers: their ids."""
    disks = ET.fromstring(xml).iter("disk")  # noqa: S314  (of our own libvirt)
    return {disk.findtext("serial", "") for disk in disks if disk.find("source[@protocol='nbd']") is not None}


def _disks(cloud: LabCloud, servers: dict[str, Any]) -> list[str]:
    """A server has its directory, and whoever is gone has none."""
    here = {entry.name for entry in cloud.home.instances.iterdir() if _is_uuid(entry.name)}
    found = [f"the disks of {server} are there, and the server is not" for server in here - servers.keys()]
    return found + [
        f"the disks of server {server} are not there"
        for server in servers.keys() - here
        if servers[server]["status"] in ("ACTIVE", "SHUTOFF")
    ]


def _ports(client: Client, servers: dict[str, Any]) -> list[str]:
    ports = client.ask("GET", "/network/v2.0/ports").body["ports"]
    of_servers = [port for port in ports if port["device_owner"].startswith("compute:")]
    found = [
        f"port {port['id']} is bound to {port['device_id']}, which is not there"
        for port in of_servers
        if port["device_id"] not in servers
    ]
    for server, place in servers.items():
        bound = [port["binding:host_id"] for port in of_servers if port["device_id"] == server]
        host = place["OS-EXT-SRV-ATTR:host"]
        if host and place["status"] != "ERROR" and bound != [host]:
            found.append(f"server {server} is on {host}, and its port is bound at {bound or 'no host'}")
    return found


def _allocations(client: Client, servers: dict[str, Any]) -> list[str]:
    """Each server has of its own host what its flavor says, and nobody else has anything."""
    found, seen = [], set()
    for provider in client.placement("/resource_providers").body["resource_providers"]:
        held = client.placement(f"/resource_providers/{provider['uuid']}/allocations").body["allocations"]
        for consumer, allocation in held.items():
            server = servers.get(consumer)
            if server is None or server["OS-EXT-SRV-ATTR:host"] != provider["name"]:
                found.append(f"{consumer} holds {allocation['resources']} of {provider['name']}, and is not there")
                continue
            seen.add(consumer)
            flavor = server["flavor"]
            needs = {"VCPU": flavor["vcpus"], "MEMORY_MB": flavor["ram"], "DISK_GB": flavor["disk"]}
            if allocation["resources"] != needs:
                found.append(f"server {consumer} holds {allocation['resources']}, and needs {needs}")
    return found + [
        f"server {server} is on {place['OS-EXT-SRV-ATTR:host']}, and holds nothing of it"
        for server, place in servers.items()
        if place["OS-EXT-SRV-ATTR:host"] and server not in seen
    ]


def _volumes(listed: list[Any], servers: dict[str, Any], shown: dict[str, Shown]) -> list[str]:
    """A volume is attached once, at the server that knows of it and whose guest has it; or it is available."""
    found = []
    has = {
        server: {each["id"] for each in place["os-extended-volumes:volumes_attached"]}
        for server, place in servers.items()
    }
    for volume in listed:
        at = [each["server_id"] for each in volume["attachments"]]
        known = [server for server, its in has.items() if volume["id"] in its]
        if at != known or (volume["status"], len(at)) not in (("in-use", 1), ("available", 0)):
            found.append(f"volume {volume['id']} is {volume['status']} at {at}, and servers {known} know of it")
    for host, each in shown.items():
        found += [
            f"server {server} has volumes {sorted(has[server])}, and its guest on {host} has {sorted(guest)}"
            for server, guest in each.running.items()
            if server in has and guest != has[server]
        ]
    return found


def _contents(cloud: LabCloud, listed: list[Any]) -> list[str]:
    """The storage host holds the content of each volume, and nothing else."""
    ids = {volume["id"] for volume in listed}
    kept = {entry.name for entry in (cloud.home.host(STORAGE_HOST).volumes / "volumes").iterdir()}
    found = [f"the content of volume {each} is there, and the volume is not" for each in kept - ids]
    return found + [f"the content of volume {each} is not there" for each in ids - kept]


def _migrations(client: Client) -> list[str]:
    return [
        f"migration {each['id']} of {each['instance_uuid']} is {each['status']}"
        for each in _all(client, "/os-migrations", "migrations")
        if each["status"] not in _FINAL_MIGRATIONS
    ]


def _all(client: Client, path: str, what: str) -> list[Any]:
    """Read a list to its end, page by page."""
    found: list[Any] = []
    while True:
        sign = "&" if "?" in path else "?"
        marker = f"&marker={found[-1].get('uuid') or found[-1]['id']}" if found else ""
        page = client.compute("GET", f"{path}{sign}limit=500{marker}").body[what]
        found += page
        if len(page) < 500:
            return found


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
