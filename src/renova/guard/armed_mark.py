"""A mark on disk that this host's guard is armed: set before controllers hear of it, gone when they know better.

A guard that is started unarmed finds by it that the last one was not: then controllers still take the end of the lease
for the end of the guests, and the gate stays closed until they know.
"""

from pathlib import Path

from renova.durable import write_whole
from renova.model.errors import unusable


class ArmedMark:
    """guard-armed in the state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "guard-armed"

    def is_set(self) -> bool:
        return self._path.exists()

    def may_be_set(self) -> bool:
        """Say whether it is set, or cannot be looked for."""
        try:
            return self.is_set()
        except OSError:
            return True

    def set(self) -> None:
        """Have it on disk. `NotNow` or `BadSetup` when it cannot be: then the host must not be armed."""
        if self.is_set():
            return
        try:
            write_whole(self._path, b"")
        except OSError as error:
            says = f"{self._path} cannot be written ({error.strerror}), so this host is not armed."
            raise unusable(error, says) from error

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
