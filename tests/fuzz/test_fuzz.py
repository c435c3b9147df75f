"""The fuzzer sees what it is made to see, reaches every route, and tells a failure again as small as it can."""

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import structlog

from renova.api.dispatch import Failure
from renova.api.http import Call, Handler, Reply, Route
from renova.model.errors import Invalid
from renova.simulation.loop import run_virtual
from renova.store import quotas
from tests.fuzz import runs
from tests.fuzz.by_hand import BETTER, BY_HAND, NO_BODY, UPLOADS, has_body, word_of
from tests.fuzz.episode import Episode, Step
from tests.fuzz.request import Request
from tests.fuzz.shapes import SECRET
from tests.fuzz.targets import Target, targets
from tests.fuzz.world import World, prepare_process

PLANTED = "GET /limits"
Plant = Callable[[Call], Awaitable[Reply]]


@pytest.fixture(autouse=True, scope="module")
def process() -> Iterator[None]:
    with prepare_process():
        yield


class Spoilt(Episode):
    """An episode whose controller has one bad handler."""

    def __init__(self, plant: Plant) -> None:
        super().__init__(7)
        self._plant = plant

    def _noting(self, route: Route, named: dict[Route, str]) -> Handler:
        return self._plant if f"{route.method} {route.path}" == PLANTED else super()._noting(route, named)


async def crash(call: Call) -> Reply:
    raise KeyError("nobody planned for this")


async def say_more(call: Call) -> Reply:
    raise Failure(502, "some gateway")


async def refuse_and_write(call: Call) -> Reply:
    await call.cloud.database.transact(lambda tx: quotas.change(tx, call.caller.project, {"cores": 1}))
    raise Invalid("no")


async def read_and_write(call: Call) -> Reply:
    await call.cloud.database.transact(lambda tx: quotas.change(tx, call.caller.project, {"cores": 1}))
    return Reply(200, {})


async def tell_a_secret(call: Call) -> Reply:
    raise Invalid(f"the password is {SECRET}abc")


async def log_a_secret(call: Call) -> Reply:
    structlog.get_logger().info("signed in", how=call.headers["x-auth-token"])
    return Reply(200, {})


async def take_long(call: Call) -> Reply:
    end = time.thread_time() + 1.1
    while time.thread_time() < end:
        pass
    return Reply(200, {})


async def answer_with_a_page(call: Call) -> Reply:
    return Reply(404, b"<html>", {"content-type": "text/html"})


async def give_no_json(call: Call) -> Reply:
    return Reply(200, b'{"a": NaN}', {"content-type": "application/json"})


async def be_away(call: Call) -> Reply:
    return Reply(503, {"serviceUnavailable": {"code": 503, "message": "later"}}, {"Retry-After": "2"})


async def take_no_end(call: Call) -> Reply:
    await call.cloud.clock.sleep(1e5)
    return Reply(200)


async def name_no_header(call: Call) -> Reply:
    return Reply(200, {}, {"a b": "c"})


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (crash, "answered 500"),
        (say_more, "answered 502"),
        (refuse_and_write, "changed though answered 400"),
        (read_and_write, "changed though answered 200"),
        (tell_a_secret, "secret in the error"),
        (log_a_secret, "secret in the log"),
        (take_long, "slow"),
        (answer_with_a_page, "an error as text/html"),
        (give_no_json, "no JSON"),
        (be_away, "503 though no host ails"),
        (take_no_end, "crash: no answer within"),
        (name_no_header, "a header of no name"),
    ],
)
def test_what_must_not_be_is_seen(plant: Plant, says: str) -> None:
    told = runs.ended(episode := Spoilt(plant), episode.replay([_step(0, PLANTED)], settle=False))
    assert any(fault.says.startswith(says) for fault in told.faults), told.faults


def _step(number: int, word: str) -> Step:
    method, _, path = word.partition(" ")
    return Step(number, Request(method, f"/compute/v2.1{path}", (("X-Auth-Token", "{admin}"),)), target=word)


def test_a_stranger_who_learns_what_is_there_is_seen() -> None:
    async def tell(call: Call) -> Reply:
        there = call.path["server"] != "0" * 36
        return Reply(404, {"itemNotFound": {"code": 404, "message": "yours" if there else "no such server"}})

    class Telling(Episode):
        def _noting(self, route: Route, named: dict[Route, str]) -> Handler:
            return tell if route.path == "/servers/{server}" else super()._noting(route, named)

        def _count_hits(self) -> None:
            for service in self.world.services:
                service.routes[:] = [
                    route._replace(public=True) if route.path == "/servers/{server}" else route
                    for route in service.routes
                ]
            super()._count_hits()

    path = "/servers/11111111-1111-4111-8111-111111111111"
    step = Step(0, Request("GET", f"/compute/v2.1{path}"), who="nobody", target=path)
    told = runs.ended(episode := Telling(7), episode.replay([step]))
    assert [fault.kind for fault in told.faults] == ["a stranger learns what is there"]


async def _every_target() -> list[Target]:
    async with World(1) as world:
        return targets(world.services)


def test_what_every_route_takes_is_known() -> None:
    every = run_virtual(_every_target())
    assert [target.name for target in every if not has_body(target)] == []
    words = {word_of(target) for target in every}
    assert {*BY_HAND, *BETTER, *NO_BODY, *UPLOADS} - words == set()


def test_a_short_run_finds_nothing_and_says_what_it_did(tmp_path: Path) -> None:
    found = runs.run(5, 150, 1, tmp_path)
    assert found.told.requests >= 140
    assert [case.says for case in found.cases] == []
    assert len(found.told.hits) > 50
    assert found.told.statuses[200] > 15


@pytest.mark.slow
def test_a_run_is_told_again(tmp_path: Path) -> None:
    first, again = runs.play(9, 250, 60)[0], runs.play(9, 250, 60)[0]
    assert (first.statuses, first.hits, first.requests) == (again.statuses, again.hits, again.requests)


@pytest.mark.slow
def test_a_failure_is_made_small_and_can_be_played_again(tmp_path: Path) -> None:
    async def fail_for_red(call: Call) -> Reply:
        if call.one("colour") == "red":
            raise KeyError("red")
        return Reply(200, {})

    class Red(Spoilt):
        def __init__(self, seed: int, first: int = 0) -> None:
            super().__init__(fail_for_red)

    steps = [_step(number, "GET /flavors") for number in range(4)]
    steps.append(_step(4, "GET /limits?size=3&colour=red&x=%00"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "Episode", Red)
        told = runs.replay(7, 0, steps)
        (fault, *_) = told.faults
        case = runs.small(runs.Case(7, 0, fault.says, steps), fault.kind)
        assert [step.request.target for step in case.steps] == ["/compute/v2.1/limits?colour=red"]
        kept = runs.Case.read(case.write(tmp_path))
        assert kept == case
        assert next(iter(runs.replay(kept.seed, kept.first, kept.steps).faults)).kind == fault.kind
    command = case.steps[0].request.as_curl()
    assert command.startswith("curl")
    assert "colour=red" in command
