"""What a guard keeps on disk: the highest era and epoch that it has entered.

So a guard that starts anew, or a host whose database was set back, is not talked into a lease that is long over.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from renova.drivers.blocking import in_thread
from renova.durable import DAMAGED, write_whole
from renova.model.errors import NotNow


class Page(msgspec.Struct, frozen=True):
    """The highest (era, epoch) entered; (0, 0): none."""

    era: int = 0
    epoch: int = 0


class PageKeeper(Protocol):
    """Keeps the page. What was written is on disk; `NotNow` when it cannot be."""

    async def read(self) -> Page: ...
    async def write(self, page: Page) -> None: ...


class MemoryPage:
    """Survives the guard, as a file survives a process."""

    def __init__(self) -> None:
        self.page = Page()

    async def read(self) -> Page:
        return self.page

    async def write(self, page: Page) -> None:
        self.page = page


class FilePage:
    """guard.json in the state directory, beside the host's identity.

    One that is gone or damaged is as good as none: the controllers say which lease the host has, and know more.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "guard.json"

    async def read(self) -> Page:
        return await in_thread(None, self._read)

    async def write(self, page: Page) -> None:
        await in_thread(None, self._write, page)

    def _read(self) -> Page:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Page)
        except (FileNotFoundError, *DAMAGED):
            return Page()
        except OSError as error:
            raise NotNow(f"{self._path} cannot be read ({error.strerror})") from error

    def _write(self, page: Page) -> None:
        try:
            write_whole(self._path, msgspec.json.encode(page))
        except OSError as error:
            raise NotNow(f"{self._path} cannot be written ({error.strerror})") from error
