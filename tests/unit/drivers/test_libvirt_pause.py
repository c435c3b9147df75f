"""A guest that QEMU stopped for a disk goes on once the disk is back; one that was paused, only when it is unpaused.

libvirt itself keeps the metadata here, by its test driver; what that has no disks for follows QEMU's driver.
"""

from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from renova.drivers.hypervisor import libvirt_domains as domains
from renova.model.ids import ServerId

RUNS = libvirt.VIR_DOMAIN_RUNNING
STALLED = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]


class Domain:
    """A domain whose disk may give errors. As QEMU's driver has it, who is paused is not paused for another reason."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain
        self.disk_errs = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._domain, name)

    def state(self) -> list[int]:
        found: list[int] = self._domain.state()
        return STALLED if self.disk_errs and found[0] == libvirt.VIR_DOMAIN_PAUSED else found

    def suspend(self) -> None:
        if self._domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED:
            self._domain.suspend()

    def err(self) -> None:
        self.disk_errs = True
        self.suspend()


class Connection:
    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def lookupByUUIDString(self, _server: str) -> Domain:  # noqa: N802  (libvirt's name)
        return self._domain


@pytest.fixture
def domain() -> Iterator[Domain]:
    opened = libvirt.open("test:///default")
    yield Domain(opened.listAllDomains()[0])
    opened.close()


SERVER = ServerId("server")


def test_a_guest_that_stalled_goes_on(domain: Domain) -> None:
    connection = Connection(domain)
    domain.err()
    assert domains.is_stalled(connection, SERVER)
    domains.resume_stalled(connection, SERVER)
    assert domain.state()[0] == RUNS


def test_a_guest_that_is_paused_while_it_is_stalled_stands_still_whoever_looks_and_when(domain: Domain) -> None:
    """An agent that was told to pause it, or the next one, that knows only what libvirt says."""
    connection = Connection(domain)
    domain.err()
    domains.pause(connection, SERVER)
    assert domain.state() == STALLED, "libvirt gives the first reason still"
    assert not domains.is_stalled(connection, SERVER)
    domains.resume_stalled(connection, SERVER)
    assert domain.state() == STALLED


def test_a_guest_that_is_unpaused_and_stalls_again_goes_on_again(domain: Domain) -> None:
    connection = Connection(domain)
    domain.err()
    for _ in range(2):
        domains.pause(connection, SERVER)
    for _ in range(2):
        domains.unpause(connection, SERVER)
    assert domain.state()[0] == RUNS
    domain.err()
    assert domains.is_stalled(connection, SERVER)
    domains.resume_stalled(connection, SERVER)
    assert domain.state()[0] == RUNS
