"""The door by which guests come to a host with their memory."""

import socket
from pathlib import Path

import pytest

from renova.drivers.hypervisor.passage import Credentials, Passage
from renova.hosts.authority import Authority
from renova.model.clock import SystemClock
from renova.model.errors import NotNow


async def test_a_door_that_somebody_else_has_is_opened_once_it_is_free_and_no_second_time(tmp_path: Path) -> None:
    identity = Authority(tmp_path / "ca", SystemClock()).serve_as(["127.0.0.1"])
    credentials = Credentials(identity.authority, identity.certificate, identity.key)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        passage = Passage("127.0.0.1", taken.getsockname()[1], credentials)
        with pytest.raises(NotNow, match="Free that port, or set migration_port"):
            await passage.open()
    await passage.open()
    await passage.open()  # an agent whose libvirtd is away begins with all of it again
    await passage.close()
