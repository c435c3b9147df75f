"""Virtual time: an event loop that never waits, so that minutes pass in milliseconds and each run can be repeated.

When nothing is ready, time jumps to the next timer. What would run in a thread runs at once, in the caller's place.
Nothing here may wait for the outside: no sockets, no processes, no real threads.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
GRACE_S = 600.0  # virtual seconds that cancelled tasks have to end, after the limit too
BUSY_TURNS = 200_000  # of the loop at one moment: by then something goes round in circles


class Stuck(Exception):
    """Nothing will ever happen any more, or the run passed its limit; the message lists what waits, and where."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` is 0.0 at first and moves only to the next timer; `Stuck` past `limit_s`."""

    def __init__(self, limit_s: float = 86_400.0) -> None:
        self._now = 0.0
        self.limit_s = limit_s
        self._turns_of_this_moment = 0
        self._births = 0
        super().__init__(_Jump(self._jump))
        # Timers closer together than this are one moment; the default depends on the machine.
        self._clock_resolution = 1e-9
        self.set_task_factory(self._new_task)
        self.failures: list[BaseException] = []  # of tasks and callbacks that nobody waits for
        self.set_exception_handler(self._keep_failure)

    def time(self) -> float:
        return self._now

    def run_in_executor(
        self, _executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (the caller's: it is raised where the caller waits)
            future.set_exception(error)
        return future

    def _new_task(self, _loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        self._births += 1
        return _Task(coro, self._births, loop=self, **options)

    def _keep_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(context.get("exception") or Stuck(context["message"]))

    def _jump(self, seconds: float | None) -> None:
        if seconds is None:
            raise Stuck(f"at {self._now:.3f} s nothing will ever happen any more{self._waiting()}")
        if seconds > 0:
            self._now += seconds
            self._turns_of_this_moment = 0
        self._turns_of_this_moment += 1
        if self._now > self.limit_s:
            raise Stuck(f"not done at {self._now:.3f} s{self._waiting()}")
        if self._turns_of_this_moment > BUSY_TURNS:
            self._turns_of_this_moment = 0
            raise Stuck(f"time stands still at {self._now:.3f} s{self._waiting()}")

    def _waiting(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        return "".join(f"\n  {task.get_name()}: {_place(task)}" for task in tasks[:30])


class VirtualClock:
    """The clock of a virtual loop (the running one unless given). All start at zero, `wall` at a fixed date."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()

    def wall(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()

    def boottime(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run_virtual(main: Coroutine[Any, Any, T], limit_s: float = 86_400.0) -> T:
    """Run `main` in a virtual loop of its own and return its result; tasks that it left are cancelled.

    Raises `Stuck` when it can never end or takes more than `limit_s` virtual seconds, and the first error of a task
    that nobody waited for: in a simulation nothing fails unseen.
    """
    loop = VirtualLoop(limit_s)
    try:
        result = loop.run_until_complete(main)
    finally:
        try:
            _cancel_all(loop)
        finally:
            loop.close()
    if loop.failures:
        raise loop.failures[0]
    return result


class _Jump(selectors.SelectSelector):
    """In the place of waiting for sockets: lets time jump."""

    def __init__(self, jump: Callable[[float | None], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._jump(timeout)
        return []


class _Task(asyncio.Task[Any]):
    """A task that hashes by its birth, not its address: sets of tasks have the same order in every run."""

    def __init__(self, coro: Any, birth: int, **options: Any) -> None:
        self.birth = birth  # first: a task is put among all tasks, by its hash, while it is made
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.birth

    def __eq__(self, other: object) -> bool:
        return self is other


def _cancel_all(loop: VirtualLoop) -> None:
    left = sorted(asyncio.all_tasks(loop), key=hash)
    loop.limit_s = loop.time() + GRACE_S
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _place(task: "asyncio.Task[Any]") -> str:
    frames = task.get_stack(limit=1)
    return f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "not begun"
