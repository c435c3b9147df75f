"""Telling a case: prepared once, then told by a forked process for every point and fault."""

import gc
import logging
import os
import pickle
import re
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import structlog

from renova.model.channel import Closed
from renova.simulation.history import quiet_logs
from renova.simulation.loop import VirtualLoop, run_virtual
from tests.points.asking import Asking
from tests.points.cases import CASES, Case
from tests.points.faults import KILLS, Fault
from tests.points.picture import difference, picture
from tests.points.taps import Point

T = TypeVar("T")
CALM_S = 12.0  # virtual seconds in which an idle cloud does everything that it does anyway
QUICK = {"count": 2, "start_s": 0.01, "boot_s": 0.0, "shut_down_s": 0.01}
LIMIT_S = 120  # CPU seconds for one telling: it waits for nothing, so that more of them are an endless loop


@dataclass
class Outcome:
    """How one telling ended."""

    passed: list[Point] = field(default_factory=list)
    fired: bool = False
    error: str = ""
    picture: list[str] = field(default_factory=list)


class Prepared:
    """A case whose cloud is ready; each telling happens in a process of its own."""

    def __init__(self, case: Case, controllers: int = 1) -> None:
        self.case = case
        self._loop = VirtualLoop()
        self._told: Asking = self._run(made_ready(case, controllers))
        self.undisturbed = self.tell()
        assert not self.undisturbed.error, self.undisturbed.error
        by_itself = set() if case.by_itself else {point[:3] for point in forked(self._tell_calm).passed}
        self.points = [point for point in self.undisturbed.passed if point[:3] not in by_itself]

    def tell(self, point: Point | None = None, fault: Fault | None = None) -> Outcome:
        """Tell the case, with the fault at the point; says what was not as it must be."""
        try:
            outcome = forked(lambda: self._tell(point, fault))
        except Ended as ended:
            return Outcome(error=str(ended))
        if point is not None and not outcome.error:
            assert fault is not None
            if not outcome.fired:
                outcome.error = "the point was not reached"
            elif not (self._may_fail(point, fault) or self.case.varies) and (
                differs := difference(self.undisturbed.picture, outcome.picture)
            ):
                outcome.error = "not as undisturbed:\n" + "\n".join(differs)
        return outcome

    # --- in the process that prepares ---

    def _run(self, main: Any) -> Any:
        return self._loop.run_until_complete(main)

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
            may_fail = point is not None and fault is not None and self._may_fail(point, fault)
            self._run(whole(told, self.case, may_fail=may_fail))
            outcome.picture = self._run(picture(told, births))
            for failure in self._loop.failures:
                if not isinstance(failure, Closed):  # which those who were killed no longer heard
                    raise failure
        except Exception:  # noqa: BLE001  (whatever it was: it is told where all tellings are gathered)
            outcome.error = traceback.format_exc()
        outcome.passed, outcome.fired = taps.passed, taps.fired
        return outcome

    def _may_fail(self, point: Point, fault: Fault) -> bool:
        """Say whether the operation may fail of the fault; else it ends as if nothing had been."""
        return fault.final or (fault in KILLS and str(point) in self.case.dies_with)

    def _tell_calm(self) -> Outcome:
        told = self._told
        told.cloud.taps.arm()
        self._run(told.cloud.clock.sleep(CALM_S))
        return Outcome(told.cloud.taps.passed)


async def made_ready(case: Case, controllers: int) -> Asking:
    """Return a cloud in which the case can be told."""
    told = Asking(controller_count=controllers, **{**QUICK, **case.options})
    await told.begin()
    await case.ready(told)
    await told.all_done()
    await told.cloud.clock.sleep(1)
    return told


async def whole(told: Asking, case: Case, *, may_fail: bool = False) -> None:
    """Tell the case to its end, and check that."""
    await case.ask(told)
    await told.all_done()
    await told.mend()
    if may_fail:
        await case.check_failed(told)
    else:
        await told.check()
        await case.check_end(told)


@cache
def rehearse(case: str, controllers: int = 1) -> None:
    """Tell the case once here: what is compiled and imported then is there for every process that is forked off."""

    async def main() -> None:
        told = await made_ready(CASES[case], controllers)
        await whole(told, CASES[case])
        await picture(told, 0)
        await told.cloud.down()

    with quiet_logs():
        run_virtual(main())


@dataclass
class Told:
    """How a case ended: its points, the faults that were planned and that fired, and what failed."""

    points: int = 0
    planned: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


def undone(case: str) -> set[str]:
    """Name the steps that are taken back in the case, undisturbed."""
    rehearse(case)
    passed = forked(lambda: Prepared(CASES[case]).undisturbed.passed)
    return {name for point in passed if "_take_back" in point.what for name in STEP.findall(point.what)}


STEP = re.compile(r"\[([\w.]+)\]")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """With what a case is told: `faults` at every point where they can be, `in_turn` one at each point.

    With more than one controller only at the points of controllers: others take over there. `nth`: not with all, but
    with each n-th fault; `turn` says with which, so that n turns in a row come to all of them, and the next n to those
    that are `in_turn` then. Something is told in every turn.
    """

    faults: tuple[Fault, ...] = ()
    in_turn: tuple[Fault, ...] = ()
    controllers: int = 1
    nth: int = 1
    turn: int = 0

    def plan(self, points: list[Point]) -> list[tuple[Point, Fault]]:
        if self.controllers > 1:
            points = [point for point in points if point.process.startswith("controller")]
        plan = [(point, fault) for point in points for fault in self.faults if fault.fits(point)]
        for number, point in enumerate(points, len(points) + self.turn // self.nth):
            if fitting := [fault for fault in self.in_turn if fault.fits(point)]:
                plan.append((point, fitting[number % len(fitting)]))
        step = min(self.nth, len(plan)) or 1
        return plan[self.turn % step :: step]


def tell_case(case: str, *scopes: Scope) -> Told:
    """Tell a case with what is in the scopes, in processes of their own; prepared once, for so many controllers."""
    (controllers,) = {scope.controllers for scope in scopes}
    rehearse(case, controllers)
    return forked(lambda: _tell_case(case, scopes, controllers))


def _tell_case(case: str, scopes: Sequence[Scope], controllers: int) -> Told:
    silent()
    prepared = Prepared(CASES[case], controllers)
    told = Told(len(prepared.points))
    for point, fault in (planned for scope in scopes for planned in scope.plan(prepared.points)):
        outcome = prepared.tell(point, fault)
        told.planned += 1
        told.fired[fault.name] += outcome.fired
        if outcome.error:
            told.failed.append(f"=== {case} | {point} | {fault.name} | {controllers}\n{outcome.error}")
    return told


class Ended(AssertionError):
    """A telling process ended before it had told."""


def forked(work: Callable[[], T]) -> T:
    """Do the work in a process forked off, and return its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            gc.disable()
            signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
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
        raise Ended(f"the telling process ended with status {status}")
    result: T = pickle.loads(answer)
    return result


def silent() -> None:
    """Have nothing logged: thousands of tellings would mostly do that."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
