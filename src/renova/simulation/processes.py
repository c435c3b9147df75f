"""Simulated processes: what a loop runs for one controller or agent, so that it can be frozen, or killed at any await.

Whatever a process does, and whatever that begins, carries it in its context; the loop (`simulation.loop`) asks before
it runs a callback. A frozen process (SIGSTOP) does nothing; at its thaw all that has become due meanwhile comes at
once. A killed one (SIGKILL) does nothing ever again: no `finally`, no `except`, no answer; what it had written
outside stays as it is. The world itself, and tests, belong to no process.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Process:
    """One run of a controller or an agent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.runs = True  # alive, and not frozen
        self.held: list[asyncio.Handle] = []  # due while it was frozen, in their order
        self.at_end: list[Callable[[], None]] = []  # called, by the world, when it is killed
        self._freezes = 0
        self._context = contextvars.copy_context()
        self._context.run(CURRENT.set, self)

    def context(self) -> Context:
        """Return a new context of this process."""
        return self._context.copy()

    def run(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Call in this process, now: for what reaches it from outside."""
        return self.context().run(call, *args, **options)

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
        """Begin a task of this process."""
        return asyncio.get_running_loop().create_task(work, name=name, context=self.context())

    @property
    def frozen(self) -> bool:
        return self.alive and not self.runs

    def freeze(self) -> None:
        """Stop it where it stands; each `freeze` needs its `thaw`."""
        self._freezes += 1
        self.runs = False

    def thaw(self) -> None:
        """Let it go on, late: all that has become due comes at once."""
        self._freezes -= 1
        if self._freezes == 0 and self.alive:
            self.runs = True
            held, self.held = self.held, []
            if held:
                held[0]._loop._ready.extend(held)  # type: ignore[attr-defined]  # our own loop

    def kill(self) -> None:
        """End it at once, wherever it stands; it may be the one that runs now, which then goes on to its next await."""
        if self.alive:
            self.alive = self.runs = False
            loop: Any = asyncio.get_running_loop()
            loop.entomb(self)  # first: what is held may be all that still refers to a task
            self.held.clear()
            for call in self.at_end:
                call()


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


def current() -> Process | None:
    """Return the process that runs now; None for the world and for tests."""
    return CURRENT.get()


def outside() -> Context:
    """Return a new context of no process: what runs in it outlives every one."""
    return Context()
