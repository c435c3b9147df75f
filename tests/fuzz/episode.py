"""One episode: a cloud, furnished, and some hundred requests to it, each made of what the ones before it have left.

Whatever a step draws, it draws from a generator of its own, seeded by the run's seed and the step's number; ids that
the cloud gives in a step likewise. So a step is the same whichever of those before it are left out.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from renova.api.http import NO_VERSION, Call, Handler, Reply, Route, Routes
from renova.simulation.calm import disagreements
from renova.simulation.surroundings import MemoryImages
from tests.fuzz import spoiling
from tests.fuzz.by_hand import UPLOADS, fitting_body, word_of
from tests.fuzz.furniture import furnish
from tests.fuzz.images import spoilt_image
from tests.fuzz.judge import faults, service_at
from tests.fuzz.known import noun
from tests.fuzz.request import Answer, Request
from tests.fuzz.shapes import SECRET, Shapes
from tests.fuzz.targets import Target, targets, version_word
from tests.fuzz.world import World, tape

LATE = 0.85  # of an episode has to be over before what ends or holds the cloud may be asked for
GRAVE = (
    *("POST /eras", "DELETE /os-services/{service}", "DELETE /hosts/{host}", "POST /hosts/{host}/vouch"),
    *(
        "PUT /os-services/force-down",
        "PUT /os-services/disable",
        "PUT /os-services/{service}",
        "POST /flavors/{flavor}/action",
    ),
    *(
        "PUT /os-quota-sets/{project}",
        "PUT /os-quota-class-sets/{class}",
        "PUT /os-quota-sets/{of}",
        "DELETE /flavors/{flavor}",
    ),
    *("DELETE /users/{user}", "DELETE /projects/{project}", "PATCH /users/{user}", "PATCH /projects/{project}"),
    *("DELETE /projects/{project}/users/{user}/roles/{role}", "DELETE /auth/tokens", "POST /reshaper"),
    *("DELETE /resource_providers/{provider}", "DELETE /resource_providers/{provider}/inventories"),
    *("PUT /os-services/disable-log-reason", "DELETE /allocations/{consumer}"),
)
FULL = ("POST /servers", "POST /servers/{server}/action", "POST /servers/{server}/os-volume_attachments")


@dataclass
class Step:
    """A request of some user, as often at the same time as said, and how long nothing follows it."""

    number: int
    request: Request
    who: str = ""
    copies: int = 1
    wait_s: float = 0.0  # virtual
    event: str = ""  # instead of a request: something that befalls a host
    target: str = ""
    secrets: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "request": self.request.as_json(),
            "who": self.who,
            "copies": self.copies,
            "wait_s": self.wait_s,
            "event": self.event,
            "target": self.target,
            "secrets": list(self.secrets),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Step":
        rest = {**data, "request": Request.from_json(data["request"]), "secrets": tuple(data["secrets"])}
        return Step(**rest)


@dataclass
class Fault:
    """Something that must not be, and the step at which it was seen; `late`: only when all was done."""

    step: Step
    says: str
    late: bool = False

    @property
    def kind(self) -> str:
        return self.says.partition(":")[0]


@dataclass
class Told:
    """What an episode found."""

    faults: list[Fault] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)  # handlers that ran, by their route
    successes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)  # of all routes that there are
    requests: int = 0
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    slowest: str = ""

    def add(self, other: "Told") -> None:
        self.faults += other.faults
        for mine, others in ((self.hits, other.hits), (self.successes, other.successes)):
            mine.update(others)
        self.statuses.update(other.statuses)
        self.names = other.names or self.names
        self.requests += other.requests
        self.cpu_s += other.cpu_s
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest


class Episode:
    """Plays steps in a world of its own: those that it makes up, or those that it is given."""

    def __init__(self, seed: int, first: int = 0) -> None:
        self.seed = seed
        self.first = first  # number of its first request in the run
        self.told = Told()
        self.steps: list[Step] = []
        self._targets: list[Target] = []
        self._in_turn: list[Target] = []
        self._full: list[Target] = []
        self._grave: list[Target] = []

    async def play(self, count: int) -> Told:
        """Make up that many steps and play them, up to the first fault."""
        async with World(self.seed * 100_003 + self.first) as self.world:
            await self._prepare()
            for number in range(self.first, self.first + count):
                step = self._made(number, (number - self.first) / max(count, 1))
                self.steps.append(step)
                await self._do(step)
                if self.told.faults:
                    break
            else:
                await self._settle()
        return self.told

    async def replay(self, steps: Sequence[Step], *, settle: bool = True) -> Told:
        """Play these steps again; `settle`: and look at what is left when all is done."""
        async with World(self.seed * 100_003 + self.first) as self.world:
            await self._prepare()
            for step in steps:
                self.steps.append(step)
                await self._do(step)
                if self.told.faults:
                    return self.told
            if settle:
                await self._settle()
        return self.told

    def leave(self) -> None:
        """Forget the world, so that it can be collected."""
        self.__dict__.pop("world", None)
        for each in (self._targets, self._in_turn, self._full, self._grave):
            each.clear()

    # --- what is there at first ---

    async def _prepare(self) -> None:
        world = self.world
        self._targets = targets(world.services)
        self.told.names = sorted({target.name for target in self._targets})
        self._in_turn = random.Random(self.seed).sample(self._targets, len(self._targets))
        self._full = [target for target in self._targets if word_of(target) in FULL and target.mount != "/compute/v2"]
        self._grave = [target for target in self._targets if word_of(target) in GRAVE]
        world.begin_step(-1)
        await furnish(world)
        self._actors = {*world.known.of("user"), *world.known.of("project")}
        self._tasks = len(asyncio.all_tasks())
        self._count_hits()
        tape.taken()

    def _count_hits(self) -> None:
        """Have every route note that its handler ran."""
        for service in self.world.services:
            named = {target.route: target.name for target in targets([service]) if target.mount == service.mounts[0]}
            service.table = Routes([route._replace(handler=self._noting(route, named)) for route in service.routes])

    def _noting(self, route: Route, named: dict[Route, str]) -> Handler:
        async def answer(call: Call) -> Reply:
            if route in named:
                self.told.hits[named[route]] += 1
            return await route.handler(call)

        return answer

    # --- a step made up ---

    def _made(self, number: int, over: float) -> Step:
        rng = random.Random(f"{self.seed}:{number}")
        if rng.random() < 0.006:
            host = rng.choice([*self.world.cloud.hosts, *self.world.cloud.storage_hosts])
            return Step(
                number, Request("", ""), event=f"{rng.choice(('cut', 'kill'))} {host}", wait_s=rng.choice((0, 1, 40))
            )
        target = self._target(rng, number, over)
        shapes = Shapes(rng, self.world.known)
        who = rng.choices(("admin", "demo", "reader", "other", "nobody", "lost", "garbage"), (50, 34, 4, 4, 4, 2, 2))[0]
        # Without some that are taken, nothing would ever be there; and the deeper a route, the more of it has to fit.
        pristine = rng.random() < (0.7 if target.route.path.count("{") > 1 else 0.4)
        request = self._fitting(rng, target, shapes, who, pristine=pristine)
        if not pristine:
            request = self._spoilt(rng, request)
        return Step(
            number,
            request,
            who=who,
            copies=rng.choice((2, 3, 5)) if rng.random() < 0.06 else 1,
            wait_s=rng.choice((0, 0, 0, 0.001, 0.02, 0.3, 3)),
            target=target.name,
            secrets=tuple(shapes.secrets),
        )

    def _target(self, rng: random.Random, number: int, over: float) -> Target:
        """Return a route: every second time those in turn, so that none is left out; what is grave only late."""
        if over >= LATE and rng.random() < 0.5:
            return rng.choice(self._grave)
        if number % 2 == 0:
            target = self._in_turn[number // 2 % len(self._in_turn)]
            if word_of(target) not in GRAVE:
                return target
        if rng.random() < 0.25:
            return rng.choice(self._full)
        target = rng.choice(self._targets)
        while over < LATE and word_of(target) in GRAVE:
            target = rng.choice(self._targets)
        return target

    def _fitting(self, rng: random.Random, target: Target, shapes: Shapes, who: str, *, pristine: bool) -> Request:
        """Return a request that the route may well take."""
        version = rng.choice((target.newest, target.newest, target.oldest, _between(rng, target)))
        parts = [
            quote(self._parameter(rng, target, part[1:-1]), safe="") if part.startswith("{") else part
            for part in target.route.path.split("/")
        ]
        path = target.mount + ("/".join(parts) if parts != ["", ""] or rng.random() < 0.5 else "")
        if (
            target.service.project_in_path
            and rng.random() < 0.05
            and (project := self.world.known.pick("project", rng))
        ):
            path = f"{target.mount}/{project}{'/'.join(parts)}"
        headers: list[tuple[str, str]] = [("Host", "cloud.example")]
        if who != "nobody":
            headers.append(("X-Auth-Token", f"{{{who}}}"))
        if target.service.versions.headers(version) and version != NO_VERSION:
            word = version_word(target.service, version)
            unasked = target.service.versions.asked({})  # the version that is served to who asks for none
            if word is not None and (version != unasked or rng.random() < 0.5):
                headers.append(("OpenStack-API-Version", f"{word} {version[0]}.{version[1]}"))
        method = target.route.method if target.route.method != "GET" or rng.random() < 0.93 else "HEAD"
        if "/auth/tokens" in target.route.path and target.route.method != "POST":
            headers.append(("X-Subject-Token", rng.choice(("{demo}", "{other}", "{lost}"))))
        if word_of(target) in UPLOADS:
            headers.append(("Content-Type", "application/octet-stream"))
            return Request(method, path or "/", tuple(headers), spoilt_image(rng), rng.random() < 0.1)
        body = fitting_body(target, rng, shapes, version)
        if body is None:
            query = f"?{_query(rng, self.world.known)}" if rng.random() < 0.3 else ""
            if (needed := _NEEDED.get(target.route.path)) is not None and rng.random() < 0.7:
                query = f"?{needed}{self.world.known.pick('project', rng) if needed.endswith('=') else ''}"
            return Request(method, f"{path or '/'}{query}", tuple(headers))
        headers.append(("Content-Type", _PATCH if method == "PATCH" and "/image/" in path else "application/json"))
        for _ in range(0 if pristine else rng.choice((0, 0, 1, 1, 1, 2))):
            body = spoiling.spoilt_body(rng, body, self.world.known)
        return Request(method, path, tuple(headers), spoiling.as_json(rng, body))

    def _parameter(self, rng: random.Random, target: Target, name: str) -> str:
        known = self.world.known
        api = target.mount.split("/")[1] if target.mount else ""
        word = "keypair" if name == "name" else noun(name)
        if word == "group":
            word = "server_group" if api == "compute" else "group"
        if rng.random() < 0.9 and (found := known.of(f"{api} {word}") or known.of(word)):
            if word in ("user", "project") and target.route.method != "GET":
                found = [each for each in found if each not in self._actors] or found
            return rng.choice(found)
        return (
            rng.choice(
                (known.any(rng) or "x", rng.choice(spoiling.TEXTS)[:300] or "x", "00000000-0000-4000-8000-000000000000")
            )
            .encode("utf-8", "replace")
            .decode()
            or "x"
        )

    def _spoilt(self, rng: random.Random, request: Request) -> Request:
        for _ in range(rng.choice((0, 0, 1, 1, 1, 2))):
            choice = rng.randrange(10)
            path, _, query = request.target.partition("?")
            if choice < 3:
                query = spoiling.spoilt_query(rng, query, self.world.known)
            elif choice == 3:
                path = spoiling.spoilt_path(rng, path)
            elif choice == 4:
                request = Request(rng.choice(spoiling.METHODS), request.target, request.headers, request.body)
            elif choice < 7:
                request = spoiling.spoilt_headers(rng, request)
            elif choice < 9:
                body = spoiling.spoilt_json(rng, request.body)
                request = Request(request.method, request.target, request.headers, body)
            else:
                request = Request(
                    request.method, request.target, request.headers, request.body or b"{}", broken_off=True
                )
            request = Request(
                request.method, f"{path}?{query}" if query else path, request.headers, request.body, request.broken_off
            )
        return request

    # --- a step done ---

    async def _do(self, step: Step) -> None:
        world = self.world
        world.begin_step(step.number)
        if step.event:
            await self._befall(step.event)
        else:
            await self._ask(step)
        if step.wait_s:
            await world.cloud.clock.sleep(step.wait_s)
        if step.number % 50 == 49:
            await self._mend_hosts()
        self._look_at_log(step)

    async def _ask(self, step: Step) -> None:
        world, told = self.world, self.told
        ailing = world.hosts_ail()
        answers = await asyncio.gather(*(world.ask(step.request) for _ in range(step.copies)))
        ailing |= world.hosts_ail()
        logged = tape.taken()
        for answer in answers:
            told.requests += 1
            told.statuses[answer.status] += 1
            told.cpu_s += answer.cpu_s / step.copies
            if answer.cpu_s / step.copies > told.slowest_s:
                told.slowest_s, told.slowest = answer.cpu_s / step.copies, step.target
            if 200 <= answer.status < 400:
                told.successes[step.target] += 1
            service = service_at(world.services, step.request)
            answer.cpu_s /= step.copies
            secrets = (*world.tokens.values(), *step.secrets)
            said = faults(service, step.request, answer, logged=logged, secrets=secrets, ailing=ailing)
            told.faults += [Fault(step, each) for each in said]
            if 200 <= answer.status < 300:
                world.learn(step.request.target, answer)
        if step.who in ("nobody", "lost", "garbage") and not told.faults:
            await self._compare_with_nothing(step, answers[0])

    async def _compare_with_nothing(self, step: Step, answer: Answer) -> None:
        """Who has not signed in is told the same of what is there and of what is not."""
        target = _ID.sub(lambda id_: "0" * len(id_[0]), step.request.target)
        if target == step.request.target:
            return
        request = Request(step.request.method, target, step.request.headers, step.request.body, step.request.broken_off)
        other = await self.world.ask(request)
        if (answer.status, len(answer.body)) != (other.status, len(other.body)):
            says = f"a stranger learns what is there: {answer.status} {answer.body[:200]!r}, else {other.status}"
            self.told.faults.append(Fault(step, says))

    def _look_at_log(self, step: Step) -> None:
        logged = tape.taken()
        for line in logged.splitlines():
            if '"level": "error"' in line:
                self.told.faults.append(Fault(step, f"logged as an error: {line[-1500:]}"))
            if SECRET in line or any(token in line for token in self.world.tokens.values()):
                self.told.faults.append(Fault(step, f"secret in the log: {line[-1500:]}"))

    async def _befall(self, event: str) -> None:
        what, _, host = event.partition(" ")
        found = self.world.cloud.any_host(host)
        if found.agent is None:
            return
        await (self.world.cloud.cut_power(host) if what == "cut" else self.world.cloud.kill_agent(host))

    async def _mend_hosts(self) -> None:
        cloud = self.world.cloud
        for host in cloud.every_host():
            if not host.powered:
                await cloud.power_on(host.name)
            elif host.agent is None:
                cloud.start_agent(host.name)
        await cloud.clock.sleep(2)

    async def _settle(self) -> None:
        """With all hosts up again, what is under way comes to an end, and nothing is left of all those requests."""
        await self._mend_hosts()
        await self.world.cloud.clock.sleep(900)
        last = self.steps[-1] if self.steps else Step(0, Request("", ""))
        before = len(self.told.faults)
        self._look_at_log(last)
        self._look_at_parts(last)
        await self._look_at_records(last)
        await self._look_at_tasks(last)
        for fault in self.told.faults[before:]:
            fault.late = True

    def _look_at_parts(self, last: Step) -> None:
        for ended in self.world.cloud.ended:
            self.told.faults.append(Fault(last, f"part ended: {ended}"))
        loop: Any = asyncio.get_running_loop()
        for failure in loop.failures:
            self.told.faults.append(Fault(last, f"nobody waited for: {failure!r}"))
        loop.failures.clear()

    async def _look_at_records(self, last: Step) -> None:
        """What was begun has come to an end, whatever was asked for meanwhile.

        Not all that the simulation demands in the end: administrators may write into placement, say what state a
        server is in, and give away hosts.
        """
        world: Any = SimpleNamespace(
            hosts=self.world.cloud.hosts, storage_hosts=self.world.cloud.storage_hosts, images=MemoryImages()
        )
        found = await self.world.cloud.database.read(lambda tx: list(disagreements(world, tx, ())))
        if not any(each.startswith("the cluster is on hold") for each in found):
            wrong = [each for each in found if re.search(_NOT_FINAL, each)]
            self.told.faults += [Fault(last, f"not final: {each}") for each in wrong]

    async def _look_at_tasks(self, last: Step) -> None:
        for _ in range(100):  # some come and go with each report of a host
            if len(asyncio.all_tasks()) <= self._tasks:
                return
            await self.world.cloud.clock.sleep(0.37)
        names = Counter(re.sub(r"0x\w+|\d+", "", repr(task.get_coro())) for task in asyncio.all_tasks())
        self.told.faults.append(Fault(last, f"tasks left: {len(asyncio.all_tasks())}, of {self._tasks}: {names}"))


_NOT_FINAL = r"^(operation|event|migration) |counted as used|is left in |in no final state|runs on \[[^]]*,"
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f-]{32,36}(?![0-9a-f])")
_PATCH = "application/openstack-images-v2.1-json-patch"


_NEEDED = {"/usages": "project_id=", "/allocation_candidates": "resources=VCPU:1"}


def _between(rng: random.Random, target: Target) -> tuple[int, int]:
    if target.oldest[0] != target.newest[0]:
        return target.newest
    return target.oldest[0], rng.randint(target.oldest[1], target.newest[1])


def _query(rng: random.Random, known: Any) -> str:
    name = rng.choice(
        ("limit=1", "limit=2", "all_tenants=1", "sort_key=created_at", "name=a", "status=ACTIVE", "sort_dir=asc")
    )
    marker = known.pick("server", rng)
    return rng.choice(
        (name, name, f"marker={marker}", "resources=VCPU:1", "resources=VCPU:1,MEMORY_MB:64&limit=3", "project_id=x")
    )
