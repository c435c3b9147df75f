"""What is written in the outbox reaches a receiver by HTTP, whatever the receiver does meanwhile; in order."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from sqlalchemy import text
from structlog.testing import capture_logs

from renova.engine.executor import Executor
from renova.model.chance import SeededChance
from renova.model.clock import SystemClock
from renova.model.ids import ExecutorId, ServerId
from renova.partners.notifications import CloudEvent
from renova.partners.notifications.http_sink import HttpSink
from renova.partners.notifications.log_sink import LogSink
from renova.partners.notifications.outbox import Limits, Outbox
from renova.store import notices
from tests.databases import open_empty

AMPLE = Limits(age_s=3600, count=1000)
TOKEN = "a-token-of-ours"


class QuickClock(SystemClock):
    """Waits a hundredth of the time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


class Receiver:
    """An HTTP server that answers as it is told, and keeps what it has taken."""

    def __init__(self) -> None:
        self.answer: Callable[[Any], int] = lambda _event: 200
        self.delay_s: Callable[[Any], float] = lambda _event: 0.0
        self.asked = 0
        self.taken: list[Any] = []
        self.headers: dict[str, str] = {}
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def go_away(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._connections):
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
                self.headers = {name.lower(): value.strip() for name, _, value in lines}
                event = json.loads(await reader.readexactly(int(self.headers["content-length"])))
                self.asked += 1
                await asyncio.sleep(self.delay_s(event))
                status = self.answer(event)
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
                if status < 300:
                    self.taken.append(event)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    def of(self, server: str) -> list[str]:
        """Name the server's events in the order in which they were first taken."""
        return list(dict.fromkeys(event["type"] for event in self.taken if event["subject"] == server))


class Post:
    """An outbox that is served, and the receiver it tells."""

    def __init__(self, receiver: Receiver, limits: Limits, patience_s: float) -> None:
        self.receiver = receiver
        clock = QuickClock()
        self.database = open_empty(clock)
        me = Executor(ExecutorId("me"))
        me.leased_until = float("inf")
        sink = HttpSink(f"http://127.0.0.1:{receiver.port}/events", token=TOKEN, timeout=patience_s)
        self.outbox = Outbox(self.database, clock, SeededChance(1), me, sink, "http://cloud.example", limits)

    async def put(self, server: str, *kinds: str) -> None:
        def work(tx: Any) -> None:
            for kind in kinds:
                self.outbox.put(tx, ServerId(server), kind, b'{"priority":"INFO"}')

        await self.database.transact(work)

    async def until_all_is_told(self) -> None:
        await self.until(lambda: self._waiting == 0)

    async def until(self, true: Callable[[], bool], limit_s: float = 60.0) -> None:
        async with asyncio.timeout(limit_s):
            while True:
                self._waiting = await self.database.read(notices.waiting)
                if true():
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def posting(limits: Limits = AMPLE, patience_s: float = 30.0) -> AsyncIterator[Post]:
    receiver = Receiver()
    await receiver.listen()
    post = Post(receiver, limits, patience_s)
    serving = asyncio.create_task(post.outbox.serve())
    try:
        yield post
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        await receiver.go_away()
        post.database.close()


NUMBERS = [f"event.{number}" for number in range(20)]


async def test_events_are_posted_as_cloud_events_with_the_token() -> None:
    async with posting() as post:
        await post.put("one", "instance.reboot.start")
        await post.until_all_is_told()
        (event,) = post.receiver.taken
        assert post.receiver.headers["authorization"] == f"Bearer {TOKEN}"
        assert post.receiver.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
        assert set(event) == {
            *("specversion", "id", "source", "type", "subject", "time", "sequence", "datacontenttype", "data")
        }
        assert event["time"].endswith("Z")
        assert event["data"] == {"priority": "INFO"}


async def test_a_receiver_that_was_away_hears_all_in_order() -> None:
    async with posting() as post:
        await post.receiver.go_away()
        await post.put("one", *NUMBERS)
        await post.put("two", *NUMBERS)
        await post.receiver.listen()
        await post.until_all_is_told()
        assert post.receiver.of("one") == post.receiver.of("two") == NUMBERS


async def test_a_receiver_that_goes_away_in_between_hears_all_in_order() -> None:
    async with posting() as post:
        await post.put("one", *NUMBERS[:10])
        await post.until(lambda: len(post.receiver.taken) > 3)
        await post.receiver.go_away()
        await post.put("one", *NUMBERS[10:])
        await post.receiver.listen()
        await post.until_all_is_told()
        assert post.receiver.of("one") == NUMBERS


async def test_a_receiver_that_fails_for_a_while_hears_all_in_order() -> None:
    async with posting() as post:
        post.receiver.answer = lambda _event: 500 if post.receiver.asked < 7 else 204
        await post.put("one", *NUMBERS)
        await post.until_all_is_told()
        assert post.receiver.of("one") == NUMBERS
        assert post.outbox.dropped == 0


async def test_a_receiver_that_is_too_slow_is_told_again_under_the_same_id() -> None:
    async with posting(patience_s=0.3) as post:
        post.receiver.delay_s = lambda _event: 0.6 if post.receiver.asked == 1 else 0.0
        await post.put("one", *NUMBERS[:3])
        await post.until_all_is_told()
        await post.until(lambda: len(post.receiver.taken) >= 3)
        assert post.receiver.of("one") == NUMBERS[:3]
        ids = {(event["type"], event["id"]) for event in post.receiver.taken}
        assert len(ids) == 3


async def test_an_event_that_its_receiver_cannot_stand_keeps_back_no_other_server() -> None:
    async with posting() as post:
        post.receiver.answer = lambda event: 500 if event["subject"] == "bad" else 200
        await post.put("bad", *NUMBERS)
        for server in ("one", "two", "three"):
            await post.put(server, *NUMBERS)
        await post.until(lambda: len(post.receiver.taken) >= 60)
        assert all(post.receiver.of(server) == NUMBERS for server in ("one", "two", "three"))
        assert post.receiver.of("bad") == []


async def test_a_sink_that_fails_as_nobody_planned_ends_nothing_and_is_told_again() -> None:
    async with posting() as post:
        deliver, faults = post.outbox._sink.deliver, [ValueError("a fault in the sink")]

        async def fail_once(event: CloudEvent) -> None:
            if faults:
                raise faults.pop()
            await deliver(event)

        post.outbox._sink.deliver = fail_once  # type: ignore[method-assign]
        await post.put("one", *NUMBERS)
        await post.until_all_is_told()
        assert post.receiver.of("one") == NUMBERS


async def test_an_event_that_is_refused_for_good_is_dropped_and_counted() -> None:
    async with posting() as post:
        post.receiver.answer = lambda event: 422 if event["type"] == "event.1" else 200
        await post.put("one", *NUMBERS[:3])
        await post.until_all_is_told()
        assert post.receiver.of("one") == ["event.0", "event.2"]
        assert post.outbox.dropped == 1


async def test_an_event_that_a_restored_database_gives_the_number_of_a_lost_one_is_told() -> None:
    async with posting() as post:
        post.receiver.delay_s = lambda event: 0.2 if event["type"] == "lost" else 0.0
        await post.put("one", "lost")
        await post.until(lambda: post.receiver.asked == 1)

        def restore(tx: Any) -> None:
            tx.execute(text("DELETE FROM notices"))
            tx.execute(text("DELETE FROM sqlite_sequence WHERE name = 'notices'"))
            post.outbox.put(tx, ServerId("one"), "new", b"{}")

        await post.database.transact(restore)
        await post.until_all_is_told()
        assert [event["sequence"] for event in post.receiver.taken] == [f"{1:020}"] * 2
        assert post.receiver.of("one") == ["lost", "new"]


async def test_what_waits_too_long_is_dropped_and_counted() -> None:
    async with posting(Limits(age_s=0, count=1000)) as post:
        post.receiver.answer = lambda _event: 503
        await post.put("one", *NUMBERS)
        await post.until_all_is_told()
        assert post.receiver.taken == []
        assert post.outbox.dropped == 20


async def test_a_log_takes_every_event() -> None:
    with capture_logs() as lines:
        await LogSink().deliver(
            CloudEvent(
                id="1",
                source="here",
                type="instance.update",
                subject="one",
                time="",
                sequence="1",
                data=msgspec.Raw(b"{}"),
            )
        )
    assert [(line["event"], line["type"], line["data"]) for line in lines] == [("notice", "instance.update", {})]
