"""Who waits for what is not there yet says so, and does it as soon as it is there."""

from structlog.testing import capture_logs

from renova.model.chance import SeededChance
from renova.model.errors import NotNow
from renova.simulation.loop import VirtualClock, run_virtual
from renova.uplink.pauses import Pauses, patiently


def test_each_trouble_is_said_once_and_the_work_done_when_it_has_passed() -> None:
    troubles = ["no route", "no route", "no name", "no route"]

    async def attempt() -> str:
        if troubles:
            raise NotNow(troubles.pop(0))
        return "done"

    async def story() -> None:
        with capture_logs() as logs:
            assert await patiently("waiting", attempt, Pauses(VirtualClock(), SeededChance(1))) == "done"
        assert [(line["event"], line["reason"]) for line in logs] == [
            ("waiting", "no route"),
            ("waiting", "no name"),
            ("waiting", "no route"),
        ]

    run_virtual(story(), limit_s=60)
