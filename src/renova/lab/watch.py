"""Looking on in a thread of its own, while a campaign does something else."""

import threading
import time
from abc import ABC, abstractmethod


class Watch(ABC):
    """Something that is done again and again in a thread of its own, until `stop`."""

    pause_s = 1.0

    def __init__(self, name: str) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.began = time.monotonic()
        self._failure: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End; raises what kept it from looking on, if anything did."""
        self._ending.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    @abstractmethod
    def look(self) -> None:
        """Do it once."""

    def _run(self) -> None:
        while not self._ending.wait(self.pause_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  raised again by `stop`
                self._failure = error
                return
