"""Telling a case: prepared once, then told by a forked process for every point and fault."""

import gc
import logging
import os
import pickle
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from renova.model.channel import Closed
from renova.simulation.loop import VirtualLoop, run_virtual
from tests.points.asking import Asking
from tests.points.cases import CASES, Case
from tests.points.faults import EVERY, Fault
from tests.points.picture import difference, picture
from tests.points.taps import Point

T = TypeVar("T")
CALM_S = 12.0  # virtual seconds in which an idle cloud does everything that it does anyway
LIMIT_S = 600  # real seconds for one telling


@dataclass
class Outcome:
    """How one telling ended."""

    passed: list[Point] = field(default_factory=list)
    fired: bool = False
    error: str = ""
    picture: list[str] = field(default_factory=list)


class Prepared:
    """A case whose cloud is ready; each telling happens in a process of its own."""

    def __init__(self, case: Case) -> None:
        self.case = case
        run_virtual(self._rehearse())  # here, so that what is compiled and imported then is there for every telling
        self._loop = VirtualLoop()
        self._told: Asking
        self._run(self._prepare())
        self.undisturbed = self.tell()
        assert not self.undisturbed.error, self.undisturbed.error
        by_itself = set() if case.by_itself else {point[:3] for point in forked(self._tell_calm).passed}
        self.points = [point for point in self.undisturbed.passed if point[:3] not in by_itself]

    def plan(self) -> list[tuple[Point, Fault]]:
        """List every fault at every point."""
        return [(point, fault) for point in self.points for fault in EVERY.values() if point.seam in fault.seams]

    def tell(self, point: Point | None = None, fault: Fault | None = None) -> Outcome:
        """Tell the case, with the fault at the point; says what was not as it must be."""
        outcome = forked(lambda: self._tell(point, fault))
        if point is not None and not outcome.error:
            assert fault is not None
            if not outcome.fired:
                outcome.error = "the point was not reached"
            elif not (fault.final or self.case.varies) and (
                differs := difference(self.undisturbed.picture, outcome.picture)
            ):
                outcome.error = "not as undisturbed:\n" + "\n".join(differs)
        return outcome

    # --- in the process that prepares ---

    def _run(self, main: Any) -> Any:
        return self._loop.run_until_complete(main)

    async def _rehearse(self) -> None:
        await self._prepare()
        await self._whole(self._told, None)
        await picture(self._told, 0)
        await self._told.cloud.down()

    async def _prepare(self) -> None:
        case = self.case
        self._told = told = Asking(**{"count": 2, "start_s": 0.01, "boot_s": 0.0, "shut_down_s": 0.01, **case.options})
        await told.begin()
        await case.ready(told)
        await told.all_done()
        await told.cloud.clock.sleep(1)

    # --- in the process that tells ---

    def _tell(self, point: Point | None, fault: Fault | None) -> Outcome:
        told, taps = self._told, self._told.cloud.taps
        if point is not None and fault is not None:
            taps.target = point
            taps.strike = lambda passing: fault.do(told.cloud, passing)
        outcome = Outcome()
        births = len(told.cloud.births)
        told.cloud.listener.heard.clear()
        try:
            if self.case.arm_at_once:
                taps.arm()
            self._run(self._whole(told, fault))
            outcome.picture = self._run(picture(told, births))
            for failure in self._loop.failures:
                if not isinstance(failure, Closed):  # which those who were killed no longer heard
                    raise failure
        except Exception:  # noqa: BLE001  (whatever it was: it is told where all tellings are gathered)
            outcome.error = traceback.format_exc()
        outcome.passed, outcome.fired = taps.passed, taps.fired
        return outcome

    async def _whole(self, told: Asking, fault: Fault | None) -> None:
        await self.case.ask(told)
        await told.all_done()
        await told.mend()
        await told.check()
        if fault is None or not fault.final:
            await self.case.check_end(told)

    def _tell_calm(self) -> Outcome:
        told = self._told
        told.cloud.taps.arm()
        self._run(told.cloud.clock.sleep(CALM_S))
        return Outcome(told.cloud.taps.passed)


@dataclass
class Told:
    """How a case ended: its points, the faults that were planned and that fired, and what failed."""

    points: int = 0
    planned: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


def tell_case(case: str, faults: Collection[str], *, one_of_others: int | None = None, every_nth: int = 1) -> Told:
    """Tell a case with these faults at every point where they can be, in processes of their own.

    `one_of_others`: with one of the other faults too at each point, in turn from that number on; `every_nth`: not with
    all, but with each n-th fault.
    """
    return forked(lambda: _tell_case(case, faults, one_of_others, every_nth))


def _tell_case(case: str, faults: Collection[str], one_of_others: int | None, every_nth: int) -> Told:
    silent()
    prepared = Prepared(CASES[case])
    plan = [(point, fault) for point, fault in prepared.plan() if fault.name in faults]
    if one_of_others is not None:
        for turn, point in enumerate(prepared.points, one_of_others):
            if others := [fault for fault in EVERY.values() if point.seam in fault.seams and fault.name not in faults]:
                plan.append((point, others[turn % len(others)]))
    told = Told(len(prepared.points))
    for point, fault in plan[::every_nth]:
        outcome = prepared.tell(point, fault)
        told.planned += 1
        told.fired[fault.name] += outcome.fired
        if outcome.error:
            told.failed.append(f"=== {case} | {point} | {fault.name}\n{outcome.error}")
    return told


def forked(work: Callable[[], T]) -> T:
    """Do the work in a process forked off, and return its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            gc.disable()
            signal.alarm(LIMIT_S)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(work(), pipe)
            code = 0
        except BaseException:  # noqa: BLE001  (this process must not go on as the one that it was forked off)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0 or not answer:
        raise AssertionError(f"the telling process ended with status {status}")
    result: T = pickle.loads(answer)
    return result


def silent() -> None:
    """Have nothing logged: thousands of tellings would mostly do that."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
