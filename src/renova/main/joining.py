"""How a host comes by its identity before its agent runs: enrolment, tried again for as long as it takes."""

from pathlib import Path

import structlog

from renova.agent.enrolment import enrolled
from renova.model.clock import Clock
from renova.model.errors import NotNow
from renova.settings import AgentSettings
from renova.uplink.identity import Identity

log = structlog.get_logger()

LONGEST_PAUSE = 5.0  # seconds between tries


async def join(settings: AgentSettings, clock: Clock) -> Identity:
    """Return the host's identity; a controller that cannot be reached yet is tried again."""
    Path(settings.state_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    pause, said = 0.2, ""
    while True:
        try:
            return await enrolled(settings)
        except NotNow as error:
            if str(error) != said:
                log.warning("not enrolled yet", reason=str(error))
                said = str(error)
        await clock.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
