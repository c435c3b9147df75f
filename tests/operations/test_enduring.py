"""A duty that stumbles over what nobody has foreseen (decision 0037)."""

from typing import NoReturn

import pytest

from renova.ha.draining import Drainer
from renova.ha.leaving import Progress
from renova.store.database import Tx
from tests.operations.story import Told, told_story
from tests.operations.test_draining import drain, until_progress
from tests.operations.test_recovery import SETTINGS, on_one_host


def stumble(_drainer: Drainer, _tx: Tx) -> NoReturn:
    raise ValueError("what nobody has foreseen")


def test_a_duty_that_fails_ends_no_other_and_goes_on_once_it_can(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(told: Told) -> None:
        (server,) = await on_one_host(told, 1)
        controller = told.cloud.controllers["controller1"].controller
        assert controller is not None
        monkeypatch.setattr(Drainer, "_turns", stumble)
        await told.cloud.clock.sleep(5)

        def failures() -> float:
            labels = {"duty": "drains"}
            found = controller.cloud.measures.registry.get_sample_value("renova_duty_failures_total", labels)
            return found or 0.0

        assert failures() >= 2, "it is tried again"
        assert "ValueError: what nobody has foreseen" in capsys.readouterr().out
        await told.cloud.cut_power("host1")
        await told.cloud.until(lambda: bool(told.cloud.running(server)))  # recovered meanwhile, by other duties
        (host,) = told.cloud.running(server)
        await told.cloud.power_on("host1")
        await told.host_up("host1")
        monkeypatch.undo()
        before = failures()
        await drain(told, host)
        await until_progress(told, host, Progress.DRAINED)
        assert host not in told.cloud.running(server)
        assert failures() <= before + 1

    told_story(story, settings=SETTINGS, endures=True)
