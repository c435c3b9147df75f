"""Power by a command of the operator's: `COMMAND HOST` prints "on" or "off". The lab's power switch is one."""

import asyncio
import shlex

import structlog

from renova.model.ids import HostId
from renova.power import Reading

log = structlog.get_logger()

LIMIT = 5.0  # seconds a reading may take


class CommandPower:
    """Asks a command; whatever is not a clear answer is UNKNOWN."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    async def read(self, host: HostId, name: str) -> Reading:  # noqa: ARG002
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                name,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            log.warning("power command cannot be run", command=self._command, error=str(error))
            return Reading.UNKNOWN
        try:
            async with asyncio.timeout(LIMIT):
                output, errors = await process.communicate()
        except TimeoutError:
            log.warning("power command is silent", host=name)
            return Reading.UNKNOWN
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        answer = output.decode(errors="replace").strip().lower()
        if process.returncode != 0 or answer not in (Reading.ON, Reading.OFF):
            log.warning("power command failed", host=name, output=answer, errors=errors.decode(errors="replace")[-200:])
            return Reading.UNKNOWN
        return Reading(answer)
