"""The witness, real and simulated: what was written is what is read, and only in the file that both mean."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from renova.guard.page import FilePage, Page
from renova.model.channel import Channel
from renova.model.errors import NotNow
from renova.model.ids import HostId
from renova.simulation.witness import SimulatedWitness
from renova.uplink.identity import Identity, authority_file, certificate_file, identity_file, key_file
from renova.uplink.local import Look, Seen, decode_from_reader
from renova.uplink.local_socket import READERS_SOCKET, listen
from renova.wire.frames import encode
from renova.witness import LeaseName, Shown, Witness
from renova.witness.directory import WitnessDirectory

HOST = HostId("1b3f6a52-8f1c-4f0e-9a52-0d5b0f1e8c11")
LEASE = LeaseName(HOST, 1, 3)
LIMIT_S = 60.0


class Two:
    """A witness, as a controller and as a host reach it."""

    def __init__(self, controllers: Witness, hosts: Witness) -> None:
        self.controllers = controllers
        self.hosts = hosts


@pytest.fixture(params=["directory", "simulated"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    if request.param == "directory":
        yield Two(WitnessDirectory(tmp_path), WitnessDirectory(tmp_path))
    else:
        storage = SimulatedWitness()
        yield Two(storage.seen_from("controller1"), storage.seen_from("host1"))


async def test_a_file_has_the_word_that_it_was_made_with_whoever_asks_for_it_later(two: Two) -> None:
    assert await two.controllers.have(LEASE, "one") == Shown("one", revoked=False)
    assert await two.controllers.have(LEASE, "two") == Shown("one", revoked=False)
    assert await two.hosts.read(LEASE) == Shown("one", revoked=False)


async def test_a_revocation_is_read_by_whoever_reads_after_it(two: Two) -> None:
    await two.controllers.have(LEASE, "one")
    assert not (await two.hosts.read(LEASE)).revoked
    await two.controllers.revoke(LEASE, "one")
    assert await two.hosts.read(LEASE) == Shown("one", revoked=True)
    await two.controllers.revoke(LEASE, "one")
    assert await two.controllers.have(LEASE, "two") == Shown("one", revoked=True), "for good"


async def test_nothing_is_revoked_in_a_file_of_another_word_nor_in_none(two: Two) -> None:
    with pytest.raises(NotNow):
        await two.controllers.revoke(LEASE, "one")
    with pytest.raises(NotNow):
        await two.hosts.read(LEASE)
    await two.controllers.have(LEASE, "one")
    with pytest.raises(NotNow):
        await two.controllers.revoke(LEASE, "another")
    assert not (await two.hosts.read(LEASE)).revoked


async def test_each_lease_has_a_file_of_its_own(two: Two) -> None:
    later = LeaseName(HOST, 1, 4)
    await two.controllers.have(LEASE, "one")
    await two.controllers.revoke(LEASE, "one")
    assert await two.controllers.have(later, "two") == Shown("two", revoked=False)


async def test_files_of_leases_that_a_host_has_left_behind_are_removed(tmp_path: Path) -> None:
    witness = WitnessDirectory(tmp_path)
    for era, epoch in ((1, 3), (1, 12), (2, 1)):
        await witness.have(LeaseName(HOST, era, epoch), f"word-{era}-{epoch}")
    (tmp_path / HOST / ".left-by-a-crash").touch()
    await witness.have(LeaseName(HOST, 2, 10), "word")
    assert sorted(each.name for each in (tmp_path / HOST).iterdir()) == ["2.10"]


async def test_a_directory_that_is_not_there_is_never_made_for_storage_is_missing_then(tmp_path: Path) -> None:
    witness = WitnessDirectory(tmp_path / "not-mounted")
    with pytest.raises(NotNow, match="not-mounted"):
        await witness.have(LEASE, "one")
    assert not (tmp_path / "not-mounted").exists()


async def test_what_is_written_by_halves_says_nothing(tmp_path: Path) -> None:
    witness = WitnessDirectory(tmp_path)
    await witness.have(LEASE, "one")
    for content in (b'{"word":"one","rev', b'{"word":"\xff"}'):
        (tmp_path / HOST / "1.3").write_bytes(content)
        with pytest.raises(NotNow, match="damaged"):
            await witness.read(LEASE)


async def test_hosts_that_may_only_read_can_whatever_the_controllers_mask(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        await WitnessDirectory(tmp_path).have(LEASE, "one")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / HOST).stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / HOST / "1.3").stat().st_mode) == 0o644


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """Have an enrolled host whose guard has entered a lease, and its settings."""
    state, storage = tmp_path / "state", tmp_path / "witness"
    state.mkdir()
    storage.mkdir()
    for file in (key_file(state), certificate_file(state), authority_file(state)):
        file.touch()
    identity_file(state).write_bytes(msgspec.json.encode(Identity(HOST, "host1", ("controller:8775",))))
    await FilePage(state).write(Page(1, 3))
    settings = tmp_path / "agent.toml"
    settings.write_text(f'state_dir = "{state}"\nwitness = "{storage}"\n')
    return settings


def renova(*words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "renova.main", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)


async def test_an_operator_reads_what_the_guard_reads(config: Path) -> None:
    words = ("witness", "show", "--config", str(config))
    missing = renova(*words)
    assert (missing.returncode, missing.stdout.startswith("The witness says nothing of the lease of epoch 3")) == (
        1,
        True,
    )
    witness = WitnessDirectory(config.parent / "witness")
    await witness.have(LEASE, "one")
    shown = renova(*words)
    assert shown.returncode == 0
    assert "shows that nobody has revoked the lease of epoch 3 in era 1; read in " in shown.stdout
    await witness.revoke(LEASE, "one")
    revoked = msgspec.json.decode(renova(*words, "--json").stdout)
    assert (revoked["revoked"], revoked["epoch"], revoked["trouble"]) == (True, 3, None)


async def test_a_reader_reads_for_the_guard_of_its_host_whenever_that_asks(config: Path) -> None:
    witness = WitnessDirectory(config.parent / "witness")
    seen: list[Seen] = []
    done = asyncio.Event()

    async def guard(channel: Channel) -> None:
        async def ask(nonce: int) -> None:
            await channel.send(encode(Look(nonce=nonce, host=HOST, era=1, epoch=3)))

        await ask(1)
        async for frame in channel.frames():
            seen.append(decode_from_reader(frame))
            if len(seen) == 1:
                await witness.have(LEASE, "one")
                await ask(2)
            elif len(seen) == 2:
                await witness.revoke(LEASE, "one")
                await ask(3)
            else:
                done.set()

    server = await listen(config.parent / "state", guard, READERS_SOCKET)
    argv = [sys.executable, "-m", "renova.main", "witness", "--config", str(config)]
    reader = await asyncio.create_subprocess_exec(*argv)
    try:
        async with asyncio.timeout(LIMIT_S):
            await done.wait()
    finally:
        reader.terminate()
        await reader.wait()
        server.close()
        await server.wait_closed()
    assert [(each.nonce, each.word, each.revoked) for each in seen] == [
        (1, "", False),
        (2, "one", False),
        (3, "one", True),
    ]
    assert "does not have" in seen[0].why_not
    assert reader.returncode == 0
