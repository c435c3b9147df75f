"""What controllers ask of this host: commands, questions and duties. Each is answered, whatever goes wrong."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from renova.agent import orders
from renova.agent.guests import Guests
from renova.agent.hangs import Hangs
from renova.agent.heart import Heartbeat
from renova.agent.journal import HostPage, ServerPage, ThingPage
from renova.agent.session import AgentSession
from renova.agent.stores import Stores
from renova.drivers.hypervisor import Hypervisor
from renova.drivers.network import Network
from renova.model.channel import Closed
from renova.model.errors import CloudError, NotNow, Refused, Stale, StorageAway, details_of, whole
from renova.model.ids import HostId
from renova.model.sighting import Heart
from renova.uplink.pauses import Pauses
from renova.wire.commands import Answer, Command
from renova.wire.duties import Cleaned, Duty, NotCleaned
from renova.wire.images import Tidy
from renova.wire.questions import ListenFor, ListGuests, LookFor, Question, Read, ReadAsides, ReadDevices, ReadGuest
from renova.wire.results import Asides, ConsoleText, Devices, Heard, Result, Sighted, State, Stored, Tidied
from renova.wire.results import Guests as FoundGuests
from renova.wire.storage import StorageCommand

log = structlog.get_logger()

LONGEST_CONSOLE = 1024 * 1024  # bytes of a console that go into one answer


class Requests:
    """Does what is asked over a session, and answers over the same. `page` is what this host has seen last."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        network: Network,
        guests: Guests,
        hangs: Hangs,
        stores: Stores | None,
        heartbeat: Heartbeat | None,
        page: Callable[[], HostPage],
        pauses: Callable[[], Pauses],
    ) -> None:
        self._hypervisor = hypervisor
        self._network = network
        self._guests = guests
        self._hangs = hangs
        self._stores = stores
        self._heartbeat = heartbeat
        self._page = page
        self._pauses = pauses

    async def command(self, session: AgentSession, command: Command) -> None:
        order = command.order
        in_turn = session.takes(command.id, order.session)
        where = log.bind(server=order.server, number=order.number, act=type(command.act).__name__)

        def check(page: ServerPage) -> None:
            session.must_go_on()
            orders.check(order, command.act, session.id, self._page(), page)

        async def obey() -> Result:
            try:
                _must_be_in_turn(in_turn)
                orders.check_shape(order, command.act)
                return await self._guests.obey(order, command.act, check)
            except (Refused, NotNow) as error:
                where.info("command not done", reason=whole(error))
                raise

        # The answer leaves before the guest counts as idle, and so before a report of what the act changed.
        with self._guests.busy_with(order.server):
            await _answer(session, command.id, obey(), lambda: where.exception("command failed"))

    async def storage_command(self, session: AgentSession, command: StorageCommand) -> None:
        order = command.order
        in_turn = session.takes(command.id, order.session)

        def check(page: ThingPage) -> None:
            session.must_go_on()
            orders.check_storage(order, session.id, self._page(), page)

        async def obey() -> Stored:
            if self._stores is None:
                raise Refused("this host runs guests and holds no volumes")
            _must_be_in_turn(in_turn)
            return await self._stores.obey(order, command.act, check)

        failed = "storage command failed"
        await _answer(session, command.id, obey(), lambda: log.exception(failed, thing=order.thing))

    async def question(self, session: AgentSession, question: Read) -> None:
        what = question.what
        failed = "question failed"
        await _answer(
            session, question.id, self._read(what), lambda: log.exception(failed, question=type(what).__name__)
        )

    async def _read(self, what: Question) -> Result:
        # Not through the actor: guests are looked at while they are being changed.
        if isinstance(what, ReadGuest):
            guest = await self._hypervisor.guest(what.server)
            return State(None if guest is None else await self._hangs.confirmed(guest))
        if isinstance(what, ReadDevices):
            return Devices(await self._hypervisor.devices(what.server))
        if isinstance(what, ReadAsides):
            return Asides(tuple(await self._hypervisor.asides()))
        if isinstance(what, LookFor):
            return Sighted(await self._network.answering(what.addresses))
        if isinstance(what, ListenFor):
            return Heard(await self._listen([HostId(host) for host in what.hosts]))
        if isinstance(what, ListGuests):
            return FoundGuests(tuple(self._hangs.seen(guest) for guest in await self._hypervisor.guests()))
        return ConsoleText(await self._hypervisor.console(what.server, min(what.limit, LONGEST_CONSOLE)))

    async def _listen(self, hosts: Sequence[HostId]) -> tuple[Heart, ...]:
        return await self._heartbeat.listen(hosts) if self._heartbeat is not None else ()

    async def tidy(self, session: AgentSession, wanted: Tidy) -> None:
        async def drop() -> Tidied:
            return Tidied(tuple(await self._hypervisor.drop_images(wanted.in_use, wanted.grace_s)))

        await _answer(session, wanted.id, drop(), lambda: log.exception("images not tidied"))

    async def duty(self, session: AgentSession, duty: Duty) -> None:
        """Do the duty, however often it takes: until it is done the host is not up again."""
        if duty in session.duties:
            return  # a reminder
        session.duties.add(duty)
        where = log.bind(server=duty.server, below=duty.below)
        pauses, last_reason = self._pauses(), ""
        while True:
            try:
                await self._guests.clean(duty)
                break
            except Exception as error:  # noqa: BLE001  (tried again, since nobody else can do it)
                reason = whole(error)
                if reason != last_reason:
                    where.warning("duty not done yet", reason=reason, exc_info=not isinstance(error, NotNow))
                    with suppress(Closed):
                        await session.send(NotCleaned(server=duty.server, below=duty.below, reason=reason))
                last_reason = reason
            await pauses.pause()
        session.duties.remove(duty)
        where.info("duty done")
        with suppress(Closed):
            await session.send(Cleaned(duty=duty))


def _must_be_in_turn(in_turn: bool) -> None:
    if not in_turn:
        raise NotNow("the command came twice, or later than one that was sent after it")


async def _answer(session: AgentSession, number: int, work: Awaitable[Result], unforeseen: Callable[[], None]) -> None:
    """Answer with the result of the work, or with why there is none; nobody is left who would hear of a closed one."""
    with suppress(Closed):
        try:
            answer = Answer(id=number, result=await work)
        except (Refused, NotNow) as error:
            answer = _failure(number, error)
        except Exception as error:  # noqa: BLE001  (whatever went wrong, the controller must hear of it)
            unforeseen()
            answer = _failure(number, error)
        await session.send(answer)


def _failure(number: int, error: Exception) -> Answer:
    why = "broken"
    if isinstance(error, Stale):
        why = "stale"
    elif isinstance(error, Refused):
        why = "refused"
    elif isinstance(error, StorageAway):
        why = "storage_away"
    elif isinstance(error, NotNow):
        why = "not_now"
    if isinstance(error, CloudError):
        return Answer(id=number, error=str(error) or type(error).__name__, why=why, details=details_of(error))
    said = f"{type(error).__name__}: {error}"
    return Answer(id=number, error="an unexpected error; the host's log holds its cause", why=why, details=said)
