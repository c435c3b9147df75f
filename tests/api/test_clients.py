"""The field's own clients, unmodified, against the services on a loopback port."""

import asyncio
import hashlib
import io
import json
import socket
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from renova.model.clock import SystemClock
from renova.partners.identity.builtin import BuiltinIdentity
from renova.store.sqlite import open_sqlite
from tests.api.service_cloud import PASSWORDS, make_app, make_cloud, storage_of

# What other people's clients warn of, from their import on, is not ours to mend.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import openstack
    from openstackclient import shell
    from osc_lib.clientmanager import ClientCache, ClientManager

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


@contextmanager
def serving(state: Path) -> Iterator[str]:
    """Serve a cloud on its first start, on a free port; give its URL."""
    # It listens before it serves, so whoever is early waits in line.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        clock = SystemClock()
        database = open_sqlite(state / "renova.db", clock)
        cloud = make_cloud(state, database, clock, public_url=url)
        config = uvicorn.Config(make_app(cloud), http="httptools", ws="none", lifespan="off", log_level="warning")
        server = uvicorn.Server(config)

        async def serve() -> None:
            assert isinstance(cloud.identity, BuiltinIdentity)
            await cloud.identity.bootstrap(PASSWORDS)
            await storage_of(cloud).enrol()
            await server.serve([listening])

        def run() -> None:
            try:
                asyncio.run(serve())
            finally:
                listening.close()  # else whoever waits in line would wait for ever

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(20)
            database.close()


class Command:
    """The openstack command of one user, run in this process."""

    def __init__(self, url: str, who: str) -> None:
        self._login = [
            "--os-auth-url",
            f"{url}/identity",
            "--os-username",
            who,
            "--os-password",
            PASSWORDS[who],
            "--os-project-name",
            who,
            "--os-user-domain-id",
            "default",
            "--os-project-domain-id",
            "default",
        ]

    def __call__(self, *arguments: str | Path) -> None:
        """Run a command that prints nothing of interest; it must succeed."""
        self._run(*arguments)

    def show(self, *arguments: str | Path) -> Any:
        """Run a command and return what it prints."""
        return json.loads(self._run(*arguments, "-f", "json"))

    def fails(self, *arguments: str | Path) -> None:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            assert self._status(*arguments) != 0, arguments

    def _run(self, *arguments: str | Path) -> str:
        with redirect_stdout(io.StringIO()) as printed:
            assert self._status(*arguments) == 0, arguments
        return printed.getvalue()

    def _status(self, *arguments: str | Path) -> int:
        # Made for a process a command, it would go on as the user of the command before.
        for cached in vars(ClientManager).values():
            if isinstance(cached, ClientCache):
                cached._handle = None
        return int(shell.main([*self._login, *map(str, arguments)]))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("cloud")) as found:
        yield found


@pytest.fixture
def admin(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)  # nobody's clouds.yaml
    return Command(url, "admin")


@pytest.fixture
def demo(url: str, admin: Command) -> Command:
    return Command(url, "demo")


def column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_identity(url: str, admin: Command, demo: Command) -> None:
    assert len(demo.show("token", "issue")["id"]) > 40
    kinds = ["identity", "image", "network", "compute", "placement", "block-storage", "volumev3", "instance-ha"]
    assert column(demo.show("catalog", "list"), "Type") == kinds
    assert column(admin.show("service", "list"), "Type") == kinds
    assert column(admin.show("endpoint", "list", "--service", "image"), "URL") == [f"{url}/image"] * 3

    made = admin.show("project", "create", "apollo")
    assert sorted(column(admin.show("project", "list"), "Name")) == ["admin", "apollo", "demo"]
    assert column(demo.show("project", "list"), "Name") == ["demo"]
    user = admin.show("user", "create", "--project", "apollo", "--password", "first", "ada")
    assert user["default_project_id"] == made["id"]
    admin("role", "add", "--user", "ada", "--project", "apollo", "member")
    assert admin.show("role", "assignment", "list", "--user", "ada", "--names")[0]["Role"] == "member"
    assert column(admin.show("user", "list", "--project", "apollo"), "Name") == ["ada"]
    admin("user", "set", "--password", "second", "ada")
    demo.fails("user", "list")
    admin("user", "delete", "ada")
    admin("project", "delete", "apollo")
    assert sorted(column(admin.show("user", "list"), "Name")) == ["admin", "demo"]


def test_images(admin: Command, demo: Command, tmp_path: Path) -> None:
    raw, overlay, back = tmp_path / "disk.raw", tmp_path / "overlay.qcow2", tmp_path / "back.raw"
    raw.write_bytes(b"a disk" * 500_000)
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", overlay], check=True, capture_output=True
    )
    form = ("--container-format", "bare", "--disk-format")
    made = demo.show("image", "create", "--file", raw, *form, "raw", "--property", "os_distro=debian", "disk")
    assert (made["status"], made["size"], made["visibility"]) == ("active", 3_000_000, "shared")
    assert made["checksum"] == hashlib.md5(raw.read_bytes()).hexdigest()
    demo.fails("image", "create", "--file", overlay, *form, "qcow2", "overlay")
    demo.fails("image", "create", "--file", raw, *form, "raw", "--public", "disk")
    demo("image", "save", "--file", back, "disk")
    assert back.read_bytes() == raw.read_bytes()
    demo("image", "set", "--property", "os_version=12", "--tag", "red", "--min-disk", "2", "--name", "debian", "disk")
    demo("image", "set", "--tag", "blue", "debian")
    demo("image", "unset", "--tag", "red", "--property", "os_distro", "debian")
    shown = demo.show("image", "show", "debian")
    assert (shown["tags"], shown["min_disk"], shown["properties"]["os_version"]) == (["blue"], 2, "12")
    assert "os_distro" not in shown["properties"]
    assert column(demo.show("image", "list"), "Name") == ["debian"]
    assert column(demo.show("image", "list", "--public"), "Name") == []
    admin("image", "delete", shown["id"])
    assert demo.show("image", "list") == []


def test_networks(admin: Command, demo: Command) -> None:
    network = demo.show("network", "create", "blue")
    subnet = demo.show("subnet", "create", "--network", "blue", "--subnet-range", "10.9.0.0/24", "blue4")
    assert subnet["allocation_pools"] == [{"start": "10.9.0.2", "end": "10.9.0.254"}]
    shown = demo.show("network", "show", "blue")
    assert (shown["subnets"], shown["mtu"], shown["shared"]) == ([subnet["id"]], 1450, False)
    assert admin.show("network", "show", network["id"])["provider:segmentation_id"] == 1000
    assert column(demo.show("subnet", "list", "--network", "blue"), "Subnet") == ["10.9.0.0/24"]
    port = demo.show("port", "create", "--network", "blue", "--fixed-ip", "ip-address=10.9.0.50", "nic")
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.9.0.50"}]
    assert column(demo.show("port", "list", "--network", "blue"), "ID") == [port["id"]]
    assert column(demo.show("port", "list", "--fixed-ip", "ip-address=10.9.0.50"), "ID") == [port["id"]]
    demo.fails("port", "set", "--host", "h1", "nic")
    admin("port", "set", "--host", "h1", port["id"])
    assert admin.show("port", "show", port["id"])["binding_host_id"] == "h1"
    demo("security", "group", "create", "web")
    demo("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "80", "web")
    assert column(demo.show("security", "group", "list"), "Name") == ["default", "web"]
    assert len(demo.show("security", "group", "rule", "list", "web")) == 3
    demo.fails("network", "delete", "blue")
    demo("port", "delete", "nic")
    demo("network", "delete", "blue")
    assert demo.show("network", "list") == []


def test_the_sdk_finds_every_service(url: str, admin: Command) -> None:
    with openstack.connect(
        auth_url=f"{url}/identity",
        username="demo",
        password=PASSWORDS["demo"],
        project_name="demo",
        user_domain_id="default",
        project_domain_id="default",
        load_yaml_config=False,
        load_envvars=False,
    ) as cloud:
        networks = [cloud.network.create_network(name=f"net{number}") for number in range(5)]
        assert [each.name for each in cloud.network.networks(limit=2, sort_key="name")] == [
            f"net{number}" for number in range(5)
        ]
        for each in networks:
            cloud.network.delete_network(each)
        images = [cloud.image.create_image(f"image{number}", disk_format="raw") for number in range(5)]
        assert len({each.id for each in cloud.image.images(limit=2)}) == 5
        for each in images:
            cloud.image.delete_image(each)
        with pytest.raises(openstack.exceptions.ForbiddenException):
            list(cloud.placement.resource_providers())
        assert cloud.identity.get_user(cloud.current_user_id).name == "demo"
        assert cloud.list_floating_ips() == []
