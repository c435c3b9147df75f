"""What a host must never forget, kept in memory or in files: the same promises."""

import asyncio
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from renova.agent import journal as journal_module
from renova.agent.journal import FileJournal, HostPage, Journal, MemoryJournal, ServerPage
from renova.model.chance import SeededChance
from renova.model.errors import BadSetup, NotNow
from renova.model.ids import ServerId

from ...agent.host import SERVER, nic

NOWHERE = Path("/proc/nowhere")  # where nothing can be made, by whomever
PAGE = ServerPage(incarnation=3, number=10, epoch=4, burnt=2, nics=(nic(1), nic(2)))


class Kept(Protocol):
    """A place where a journal is kept."""

    def again(self) -> Journal:
        """Return the journal as the next process has it."""
        ...


class InMemory:
    def __init__(self) -> None:
        self.journal = MemoryJournal(SeededChance(1))

    def again(self) -> Journal:
        return self.journal


class InFiles:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.chance = SeededChance(1)

    def again(self) -> FileJournal:
        return FileJournal(self.directory, self.chance)


@pytest.fixture(params=["memory", "files"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return InMemory() if request.param == "memory" else InFiles(tmp_path / "journal")


@pytest.fixture
def files(tmp_path: Path) -> InFiles:
    return InFiles(tmp_path / "journal")


async def test_a_new_journal_knows_nothing_and_has_an_id(kept: Kept) -> None:
    journal = kept.again()
    page = await journal.open()
    assert uuid.UUID(page.journal)
    assert (page.era, page.epoch, page.boot) == (0, 0, "")
    assert await journal.server(SERVER) == ServerPage()
    await journal.close()


async def test_what_was_written_is_there_for_the_next_agent(kept: Kept) -> None:
    journal = kept.again()
    first = await journal.open()
    host = HostPage(first.journal, era=2, epoch=7, boot="boot")
    await journal.write_host(host)
    await journal.write_server(SERVER, PAGE)
    await journal.close()
    journal = kept.again()
    assert await journal.open() == host
    assert await journal.server(SERVER) == PAGE
    assert await journal.server(ServerId(str(uuid.UUID(int=7)))) == ServerPage()
    await journal.close()


async def test_two_agents_never_share_a_journal(files: InFiles) -> None:
    first = files.again()
    await first.open()
    second = files.again()
    with pytest.raises(NotNow, match="another agent"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


async def damaged(files: InFiles, damage: Callable[[Path], object]) -> tuple[HostPage, HostPage, FileJournal]:
    journal = files.again()
    page = HostPage((await journal.open()).journal, era=2, epoch=7)
    await journal.write_host(page)
    await journal.write_server(SERVER, PAGE)
    await journal.close()
    damage(files.directory)
    journal = files.again()
    return page, await journal.open(), journal


@pytest.mark.parametrize(
    "damage",
    [
        lambda at: (at / "host.json").unlink(),
        lambda at: (at / "host.json").write_bytes(b""),
        lambda at: (at / "host.json").write_bytes(b'{"journal": 7}'),
        lambda at: (at / "host.json").write_bytes(b'{"journal": "\xff"}'),
        lambda at: (at / "host.json").write_bytes(b'{"more": ' + b"[" * 100_000),
    ],
    ids=["gone", "empty", "wrong", "no text", "nested"],
)
async def test_a_lost_host_page_makes_another_journal(files: InFiles, damage: Callable[[Path], object]) -> None:
    before, after, journal = await damaged(files, damage)
    assert after.journal != before.journal
    assert (after.era, after.epoch) == (0, 0)
    assert await journal.server(SERVER) == PAGE
    await journal.close()


async def test_a_damaged_server_page_makes_another_journal_and_is_set_aside(files: InFiles) -> None:
    path = files.directory / "servers" / f"{SERVER}.json"
    before, after, journal = await damaged(files, lambda _: path.write_bytes(path.read_bytes()[:-5]))
    assert after.journal != before.journal
    assert (after.era, after.epoch) == (before.era, before.epoch)
    assert await journal.server(SERVER) == ServerPage()
    assert path.with_suffix(".damaged").exists()
    await journal.close()
    journal = files.again()
    assert await journal.open() == after
    await journal.close()


async def test_lost_server_pages_make_another_journal(files: InFiles) -> None:
    def remove(at: Path) -> None:
        (at / "servers" / f"{SERVER}.json").unlink()
        (at / "servers").rmdir()

    before, after, journal = await damaged(files, remove)
    assert after.journal != before.journal
    await journal.close()


async def test_a_write_is_synced_before_it_returns(files: InFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order that survives a power cut: content, name, directory."""
    journal = files.again()
    await journal.open()
    steps: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        steps.append("sync directory" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "sync file")
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    await journal.write_server(SERVER, PAGE)
    assert steps == ["sync file", "rename", "sync directory"]
    await journal.close()


async def test_a_write_that_was_broken_off_leaves_the_former_page(files: InFiles) -> None:
    path = files.directory / "servers" / f"{SERVER}.new"
    before, after, journal = await damaged(files, lambda _: path.write_bytes(b'{"incarnation"'))
    assert after == before
    assert await journal.server(SERVER) == PAGE
    assert not path.exists()
    await journal.close()


async def test_a_disk_that_cannot_be_written_says_so(files: InFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = files.again()
    await journal.open()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(NotNow, match="No space left"):
        await journal.write_server(SERVER, PAGE)
    monkeypatch.undo()
    assert await journal.server(SERVER) == ServerPage()
    await journal.close()


async def test_a_cancelled_write_has_ended_when_the_cancellation_goes_on(
    files: InFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = files.again()
    await journal.open()
    begun, ended = asyncio.Event(), []
    loop = asyncio.get_running_loop()
    write = journal_module._write

    def slow(path: Path, page: HostPage | ServerPage) -> None:
        loop.call_soon_threadsafe(begun.set)
        write(path, page)
        ended.append(True)

    monkeypatch.setattr(journal_module, "_write", slow)
    writing = loop.create_task(journal.write_server(SERVER, PAGE))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert ended
    assert await journal.server(SERVER) == PAGE
    await journal.close()


async def test_a_server_is_named_by_nothing_but_a_uuid(files: InFiles) -> None:
    journal = files.again()
    await journal.open()
    with pytest.raises(ValueError, match="UUID"):
        await journal.write_server(ServerId("../../etc/passwd"), PAGE)
    await journal.close()


async def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetup, match="journal"):
        await FileJournal(tmp_path / "file" / "journal", SeededChance(1)).open()


async def test_a_place_that_is_away_is_asked_for_again() -> None:
    with pytest.raises(NotNow, match="journal"):
        await FileJournal(NOWHERE / "journal", SeededChance(1)).open()
