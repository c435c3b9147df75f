"""The process of a host that reads the witness for its guard. `python -m renova.main.witness_process`.

It imports nothing of an agent or a controller, and holds nothing. `renova witness` becomes this process.
"""

import asyncio
import sys
from pathlib import Path

import structlog

from renova import log as logs
from renova.guard.reader import Reader
from renova.main.ending import run_to_status, until_told
from renova.model.clock import SystemClock
from renova.settings import AgentSettings, load
from renova.uplink.local_socket import READERS_SOCKET, SocketDialer
from renova.witness.directory import WitnessDirectory

log = structlog.get_logger()

# For a read. The guard counts it from when it asked, so a slow one is merely worth less; but none is made beside it.
PATIENCE_S = 600.0


def serve(settings: AgentSettings) -> None:
    """Read for the guard of this host until it is told to end; a host without a witness has nothing to be read."""
    logs.set_up(settings.log_level, process="witness")
    if not settings.witness:
        log.info("this host has no witness", reason="setting witness names no directory")
        return
    witness = WitnessDirectory(Path(settings.witness), limit_s=PATIENCE_S)
    reader = Reader(SocketDialer(Path(settings.state_dir), READERS_SOCKET), witness, SystemClock())
    asyncio.run(until_told(reader.run()))


if __name__ == "__main__":
    run_to_status(lambda: serve(load(AgentSettings, Path(sys.argv[1]) if len(sys.argv) > 1 else None)))
