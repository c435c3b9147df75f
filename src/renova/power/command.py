"""Power by a command of the operator's: `COMMAND HOST` prints "on" or "off". The lab's power switch is one."""

import asyncio
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

import structlog

from renova.model.ids import HostId
from renova.power import Reading

log = structlog.get_logger()

LIMIT = 5.0  # seconds a reading may take
AT_ONCE = 8  # readings: a rack's worth of silent hosts must not keep the controller from hearing the others


class CommandPower:
    """Asks a command; whatever is not a clear answer is UNKNOWN."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)
        # In threads: starting a process holds up the event loop, uvloop's for tens of milliseconds on a busy machine.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="power")

    async def read(self, host: HostId, name: str) -> Reading:  # noqa: ARG002
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, name)

    def _read(self, name: str) -> Reading:
        try:
            done = subprocess.run(
                [*self._command, name], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False
            )
        except OSError as error:
            log.warning("power command cannot be run", command=self._command, error=str(error))
            return Reading.UNKNOWN
        except subprocess.TimeoutExpired:
            log.warning("power command is silent", host=name)
            return Reading.UNKNOWN
        answer = done.stdout.decode(errors="replace").strip().lower()
        if done.returncode != 0 or answer not in (Reading.ON, Reading.OFF):
            errors = done.stderr.decode(errors="replace")[-200:]
            log.warning("power command failed", host=name, output=answer, errors=errors)
            return Reading.UNKNOWN
        return Reading(answer)
