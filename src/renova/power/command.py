"""Power by a command of the operator's: `COMMAND HOST` prints "on" or "off". The lab's power switch is one."""

import asyncio
import os
import shlex
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import structlog

from renova.model.errors import BadSetup
from renova.model.ids import HostId
from renova.power import Reading

log = structlog.get_logger()

LIMIT = 5.0  # seconds a reading may take
AT_ONCE = 8  # readings: a rack's worth of silent hosts must not keep the controller from hearing the others


class CommandPower:
    """Asks a command; whatever is not a clear answer is UNKNOWN."""

    def __init__(self, command: str, limit_s: float = LIMIT) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise BadSetup(f"Setting power: the command {command!r} cannot be understood ({error}).") from error
        if not self._command:
            raise BadSetup("Setting power names no command. Use command:<command>, or leave it empty.")
        self._limit_s = limit_s
        # In threads: starting a process holds up the event loop, uvloop's for tens of milliseconds on a busy machine.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="power")

    async def read(self, host: HostId, name: str) -> Reading:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, name)

    def _read(self, name: str) -> Reading:
        try:
            process = subprocess.Popen(
                [*self._command, name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that what it began ends with it
            )
        except OSError as error:
            log.warning("power command cannot be run", command=self._command, error=str(error))
            return Reading.UNKNOWN
        with process:
            try:
                output, errors = process.communicate(timeout=self._limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                log.warning("power command is silent", host=name)
                return Reading.UNKNOWN
        answer = output.decode(errors="replace").strip().lower()
        if process.returncode != 0 or answer not in (Reading.ON, Reading.OFF):
            said = errors.decode(errors="replace")[-200:]
            log.warning("power command failed", host=name, output=answer[:200], errors=said)
            return Reading.UNKNOWN
        return Reading(answer)
