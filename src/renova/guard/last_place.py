"""Where the last armed guard of this host had its gate, and its state: for who is to close it when settings are broken.

The guard ends by settings that cannot be read, and so does the next one; its guests must not run on meanwhile. Kept in
memory, at the same place whatever the settings say, and gone with a boot, as guests are.
"""

from pathlib import Path

import msgspec

from renova.durable import DAMAGED, write_whole

RUN = Path("/run/renova")


class Place(msgspec.Struct, frozen=True):
    """Two directories, as settings that were good had them."""

    gate: str
    state_dir: str


class LastPlace:
    """guard.json in the directory `run`."""

    def __init__(self, run: Path = RUN) -> None:
        self._path = run / "guard.json"

    def keep(self, place: Place) -> None:
        """Have it known until the next boot. Raises `OSError` when it cannot be."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._path, msgspec.json.encode(place))

    def read(self) -> Place | None:
        """Return it; None where no guard of this boot was armed."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Place)
        except (FileNotFoundError, *DAMAGED):
            return None
