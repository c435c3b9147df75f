"""Virtual time: an event loop that never waits, so that minutes pass in milliseconds and each run can be repeated.

When nothing is ready, time jumps to the next timer. What would run in a thread runs at once, in the caller's place.
Nothing here may wait for the outside: no sockets, no processes, no real threads. Callbacks of a simulated process
that is frozen wait for its thaw, those of a killed one never come (`simulation.processes`).
"""

import asyncio
import heapq
from asyncio import TimerHandle
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple, Unpack
from warnings import catch_warnings

from structlog.testing import capture_logs

from renova.simulation.processes import CURRENT, Process

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
GRACE_S = 600.0  # virtual seconds that cancelled tasks have to end, after the limit too
BUSY_TURNS = 200_000  # of the loop at one moment: by then something goes round in circles
RESOLUTION_S = 1e-9  # timers closer together than this are one moment
MANY_CANCELLED = 1000  # timers that will never come: by then, and if they are most, they are swept out
LAST_AWAITS = 100  # that the coroutine of a killed process may come to when it is buried


class Stuck(Exception):
    """Nothing will ever happen any more, or the run passed its limit; the message lists what waits, and where."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` is 0.0 at first and moves only to the next timer; `Stuck` past `limit_s`."""

    _ready: Any  # asyncio's own: a deque of handles, and whether the loop is to end
    _stopping: bool
    _check_closed: Callable[[], None]

    def __init__(self, limit_s: float = 86_400.0) -> None:
        self._now = 0.0
        self.limit_s = limit_s
        self._turns_of_this_moment = 0
        self._births = 0
        self._timers: list[tuple[float, int, TimerHandle]] = []  # in the order of time, then of their making
        self._timers_made = 0
        self._cancelled_timers = 0
        super().__init__()
        self.set_task_factory(self._new_task)
        self.entombed: list[asyncio.Task[Any]] = []  # of killed processes
        self.failures: list[BaseException] = []  # of tasks and callbacks that nobody waits for
        self.over = False  # closed: what the dead left is buried, and collected later, and may still call
        self.set_exception_handler(self._keep_failure)

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.over:
            self._check_closed()
            self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        timer = TimerHandle(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def run_in_executor(
        self, _executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (the caller's: it is raised where the caller waits)
            future.set_exception(error)
        return future

    def entomb(self, process: Process) -> None:
        """Keep the tasks of a process that is being killed, unseen, until the loop is closed.

        Nothing may refer to them any more; then they would be collected, and their coroutines would be closed, with
        all their `finally`, at a moment that no seed decides.
        """
        for task in asyncio.all_tasks(self):
            if isinstance(task, _Task) and task.process is process:
                self.entombed.append(task)
                asyncio.tasks._unregister_task(task)
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it ends for good, and says nothing of it

    def _new_task(
        self, _loop: asyncio.AbstractEventLoop, coro: Any, context: Context | None = None, **options: Any
    ) -> "asyncio.Task[Any]":
        self._births += 1
        process = CURRENT.get() if context is None else context.get(CURRENT)
        return _Task(coro, self._births, process, loop=self, context=context, **options)

    def _keep_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task = context.get("task") or context.get("future")
        if isinstance(task, _Task) and task.process is not None and not task.process.alive:
            return  # it would have been looked at, had its process lived
        self.failures.append(context.get("exception") or Stuck(context["message"]))

    def _timer_handle_cancelled(self, _timer: TimerHandle) -> None:
        self._cancelled_timers += 1
        if self._cancelled_timers > MANY_CANCELLED and 2 * self._cancelled_timers > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def _run_once(self) -> None:
        """Run what is ready, and what has become due; asyncio calls this again and again."""
        ready = self._ready
        if not ready and not self._stopping:
            self._jump()
        self._turns_of_this_moment += 1
        if self._turns_of_this_moment > BUSY_TURNS:
            self._turns_of_this_moment = 0
            raise Stuck(f"time stands still at {self._now:.3f} s{self._waiting()}")
        timers, due = self._timers, self._now + RESOLUTION_S
        while timers and timers[0][0] <= due:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        for _ in range(len(ready)):
            handle: Any = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(CURRENT)
            if process is None or process.runs:
                handle._run()
            elif process.alive:
                process.held.append(handle)

    def _jump(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        if not timers:
            raise Stuck(f"at {self._now:.3f} s nothing will ever happen any more{self._waiting()}")
        if timers[0][0] > self._now:
            self._now = timers[0][0]
            self._turns_of_this_moment = 0
            if self._now > self.limit_s:
                raise Stuck(f"not done at {self._now:.3f} s{self._waiting()}")

    def _waiting(self) -> str:
        return "".join(f"\n  {task.get_name()}: {_place(task)}" for task in _living(self)[:30])


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
            failures = list(loop.failures)  # what fails from now on are the dead
            _bury(loop)
    if failures:
        raise failures[0]
    return result


class _Task(asyncio.Task[Any]):
    """A task that hashes by its birth, not its address: sets of tasks have the same order in every run."""

    def __init__(self, coro: Any, birth: int, process: Process | None, **options: Any) -> None:
        self.birth = birth  # first: a task is put among all tasks, by its hash, while it is made
        self.process = process
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.birth

    def __eq__(self, other: object) -> bool:
        return self is other


def _living(loop: VirtualLoop) -> "list[asyncio.Task[Any]]":
    return sorted(asyncio.all_tasks(loop), key=hash)


def _cancel_all(loop: VirtualLoop) -> None:
    loop.limit_s = loop.time() + GRACE_S
    while left := _living(loop):  # what ends may begin something, which has to end, too
        for process in dict.fromkeys(task.process for task in left if isinstance(task, _Task)):
            while process is not None and process.frozen:
                process.thaw()  # so that its tasks can end
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
    if not loop.entombed:  # of what is left then, nobody can say whose it is
        loop.run_until_complete(loop.shutdown_asyncgens())


def _bury(loop: VirtualLoop) -> None:
    """Let go of the tasks of killed processes, and of any that would not end: what they still do now, nobody sees."""
    # They must find this loop, which is closed: asyncio would make them another, and keep it with all that they begin.
    asyncio._set_running_loop(loop)
    loop.over = True
    with capture_logs(), catch_warnings(action="ignore"):  # nor does anybody read what they say
        for task in (*loop.entombed, *_living(loop)):
            coroutine: Any = task.get_coro()
            for _ in range(LAST_AWAITS):
                try:
                    coroutine.close()
                    break
                except BaseException:  # noqa: BLE001, S112  (it ends by this, or came to another await)
                    continue
        loop.entombed.clear()
    asyncio._set_running_loop(None)


def _place(task: "asyncio.Task[Any]") -> str:
    frames = task.get_stack(limit=1)
    return f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "not begun"
