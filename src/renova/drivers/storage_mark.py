"""On which storage a host's directory is, told by a mark in it, and whether this is the storage that the host had.

    <directory>/.storage-id   the mark, made on first use; the same for every host that shares the directory
    <known>                   the mark that this host found last, in the agent's state directory

A mount point on which nothing is mounted looks like storage that is new: whoever takes it for that makes disks anew
which are there already, and has the real ones cleared away when they return. All block.
"""

from pathlib import Path

from renova.durable import write_first, write_whole
from renova.model.chance import Chance
from renova.model.errors import NotNow

MARK = ".storage-id"


class StorageMark:
    """The mark in `directory`. `known` is the file where this host keeps it; None: it takes whatever it finds."""

    def __init__(self, directory: Path, chance: Chance, known: Path | None = None) -> None:
        self._directory = directory
        self._chance = chance
        self._known = known

    def must_be_known(self) -> None:
        """Raise `NotNow` unless it is the storage that this host had before, if any: nothing may be made there, nor
        taken for gone. `OSError` when the directory cannot be read."""
        self._found()

    def identity(self) -> str:
        """Return the storage's identity; made, and kept as this host's, where it has had none yet.

        `NotNow` as `must_be_known`, `OSError` when the directory cannot be used.
        """
        here, known = self._found()
        if not here:
            self._directory.mkdir(parents=True, exist_ok=True)
            # Of two hosts that come first, one wins and the other sees it.
            write_first(self._directory / MARK, f"{self._chance.uuid()}\n".encode())
            here = _read(self._directory / MARK)
        if self._known is not None and here != known:
            self._keep(self._known, here)
        return here

    def _found(self) -> tuple[str, str]:
        """Return the mark that is there, and the one that was; "" for none."""
        here, known = _read(self._directory / MARK), "" if self._known is None else _read(self._known)
        if known and here != known:
            raise NotNow(
                f"{self._directory} is on other storage than before, or on none (its mark was {known}, and is "
                f"{here or 'gone'}): is it mounted? Mount it. To take what is there in its place, remove {self._known}."
            )
        return here, known

    def _keep(self, known: Path, identity: str) -> None:
        try:
            write_whole(known, f"{identity}\n".encode())
        except OSError as error:
            raise NotNow(f"{known} cannot be written ({error.strerror}).") from error


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
