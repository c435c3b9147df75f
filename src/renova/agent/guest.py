"""One actor a guest: takes its orders one after the other, newest first, and never runs two acts of it at once.

`guests` makes an actor when an order or a duty comes and lets it go when nothing uses it any more; what must
outlive it is in the journal. A newer order cancels the act that runs and waits until that has really ended, with all
its processes, before it begins: a cancelled act may still be writing a disk.
"""

import asyncio
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from renova.agent.acts import Acts
from renova.agent.journal import Journal, ServerPage
from renova.agent.orders import noted, settled
from renova.model.errors import CloudError, NotNow, Refused, Stale, whole
from renova.model.ids import ServerId
from renova.wire.acts import Act
from renova.wire.commands import Order
from renova.wire.duties import Duty
from renova.wire.results import Result

log = structlog.get_logger()

PATIENCE_S = 30.0  # for a cancelled act to end, until whoever waits is told to come again


class GuestActor:
    """Runs the acts of one guest. There is one actor of a server at a time."""

    def __init__(self, server: ServerId, journal: Journal, acts: Acts) -> None:
        self.server = server
        self.users = 0  # orders and duties that hold this actor
        self._journal = journal
        self._acts = acts
        self._door = asyncio.Lock()  # held while it is decided which act runs next
        self._pen = asyncio.Lock()  # held while the page is written
        self._page: ServerPage | None = None
        self._found: int | None = None  # the incarnation that was here when this actor began
        self._running: _Running | None = None

    async def obey(self, order: Order, act: Act, check: Callable[[ServerPage], None]) -> Result:
        """Perform the act, or join it if this very one runs, and return its result.

        `check` raises if the order may not be obeyed, given what is known of the server; it is asked when nothing
        can come in between. Raises `Stale` also if a newer order takes the place of this one.
        """
        async with self._door:
            check(await self._known())
            running = self._running
            if running is None or running.task.done() or not running.is_same(order, act):
                # First the note: from now on the former order is stale, whatever happens next.
                page = await self._note(lambda page: noted(order, act, page))
                await self._end(Stale("a newer order took the place of this one"), PATIENCE_S)
                running = self._running = self._begin(order, act, page)
        return await running.result()

    async def clean(self, duty: Duty) -> None:
        """Do the duty; an act of an incarnation that has to go is ended before. `NotNow` while it cannot be done."""
        async with self._door:
            page = await self._note(lambda page: replace(page, burnt=max(page.burnt, duty.below - 1)))
            running = self._running
            if running is not None and not running.task.done() and running.order.incarnation >= duty.below:
                raise NotNow(f"incarnation {running.order.incarnation} of {self.server} is being changed")
            await self._end(Stale("the server has gone to another host"), PATIENCE_S)
            newer = page.incarnation >= duty.below
            await self._acts.clean(duty, page.nics, newer)
            if not newer:
                await self._note(lambda page: replace(page, nics=()))

    async def halt(self, reason: str) -> None:
        """End the running act, which may be tried again, and wait until it has ended, however long that takes."""
        async with self._door:
            await self._end(NotNow(reason), None)

    async def _known(self) -> ServerPage:
        """Return the page, with the incarnation that is really here if the journal does not know of it."""
        page = await self._note(lambda page: page)
        if self._found is None:
            found = await self._acts.found(self.server)
            self._found = found.incarnation if found else 0
        return replace(page, incarnation=max(page.incarnation, self._found))

    async def _note(self, change: Callable[[ServerPage], ServerPage]) -> ServerPage:
        """Change the page and return it once it is on disk."""
        async with self._pen:
            page = self._page
            if page is None:
                page = await self._journal.server(self.server)
            changed = change(page)
            if changed != page:
                self._page = None  # while it is being written, nobody can say what the disk holds
                await self._journal.write_server(self.server, changed)
            self._page = changed
            return changed

    async def _end(self, reason: CloudError, patience_s: float | None) -> None:
        running = self._running
        if running is None:
            return
        if not running.task.done():
            if running.ended_because is None:
                # Once: a second cancellation could break into what the first made it clean up.
                running.ended_because = reason
                running.task.cancel()
                order, why = running.order, str(reason)
                log.info("act ended early", server=self.server, number=order.number, act=running.name, why=why)
            _, pending = await asyncio.wait([running.task], timeout=patience_s)
            if pending:
                raise NotNow(f"busy: {running.name} of operation {running.order.number} is still ending")
        self._running = None

    def _begin(self, order: Order, act: Act, page: ServerPage) -> "_Running":
        name = type(act).__name__
        perform = self._perform(order, act, page, name)
        return _Running(order, act, asyncio.get_running_loop().create_task(perform, name=f"{name}-{self.server}"))

    async def _perform(self, order: Order, act: Act, page: ServerPage, name: str) -> Result:
        where = log.bind(server=order.server, incarnation=order.incarnation, number=order.number, act=name)
        try:
            result = await self._acts.perform(order, act, page.nics)
            await self._note(lambda page: settled(order, act, result, page))
        except Refused as error:
            where.warning("act refused", reason=whole(error))
            raise
        except NotNow as error:
            where.info("act not possible now", reason=whole(error))
            raise
        where.info("act done", result=type(result).__name__)
        return result


class _Running:
    """An act that was begun."""

    def __init__(self, order: Order, act: Act, task: "asyncio.Task[Result]") -> None:
        self.order = order
        self.act = act
        self.task = task
        self.ended_because: CloudError | None = None
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # logged, even if nobody waits

    @property
    def name(self) -> str:
        return type(self.act).__name__

    def is_same(self, order: Order, act: Act) -> bool:
        """Say whether the order asks for what is being done; which connection it came by makes no difference."""
        mine, other = self.order, order
        return (mine.incarnation, mine.number, mine.epoch) == (other.incarnation, other.number, other.epoch) and (
            self.act == act
        )

    async def result(self) -> Result:
        await asyncio.wait([self.task])
        if self.task.cancelled():
            raise self.ended_because or NotNow("the agent stops")
        return self.task.result()
