"""Every action in every state of a server: what Nova allows is done, what it refuses changes nothing.

The table is Nova's (nova/compute/api.py, its check_instance_state and check_instance_lock), not ours.
"""

from typing import Any, NamedTuple

import pytest

from renova.model.ids import HostId
from renova.model.server import Server, TaskState, VmState
from renova.store import hosts
from renova.store.actions import actions
from renova.store.migrations import migrations
from renova.store.operations import operations

from .compute_cloud import IMAGE, ComputeApi
from .test_actions import row

_LIVING = ("active", "building", "paused", "suspended", "stopped", "rescued", "resized")
STATES = (*_LIVING, "soft-delete", "error", "shelved", "shelved_offloaded")

# A column a state, Y: allowed; then the task states that allow it (0: none may be set, any, or those of HARD), whether
# a lock counts, the code of success, and the task state that is set.
TABLE = """
                    AC BU PA SU ST RE RZ SD ER SH SO  task  lock
reboot SOFT         Y  -  -  -  -  -  -  -  -  -  -   0     L    202 rebooting
reboot HARD         Y  -  Y  Y  Y  -  -  -  Y  -  -   HARD  L    202 rebooting_hard
rebuild             Y  -  -  -  Y  -  -  -  Y  -  -   0     L    202 rebuilding
evacuate            Y  -  -  -  Y  -  -  -  Y  -  -   any   no   200 rebuilding
os-start            -  -  -  -  Y  -  -  -  -  -  -   0     L    202 powering-on
os-stop             Y  -  -  -  -  -  -  -  Y  -  -   0     L    202 powering-off
pause               Y  -  -  -  -  -  -  -  -  -  -   0     L    202 pausing
unpause             -  -  Y  -  -  -  -  -  -  -  -   0     L    202 unpausing
suspend             Y  -  -  -  -  -  -  -  -  -  -   0     L    202 suspending
resume              -  -  -  Y  -  -  -  -  -  -  -   0     L    202 resuming
createImage         Y  -  Y  Y  Y  -  -  -  -  -  -   0     no   202 image_snapshot_pending
createBackup        Y  -  Y  Y  Y  -  -  -  -  -  -   0     no   202 image_backup
delete              Y  Y  Y  Y  Y  Y  Y  Y  Y  Y  Y   any   L    204 deleting
forceDelete         Y  Y  Y  Y  Y  Y  Y  Y  Y  Y  Y   any   L    202 deleting
lock                Y  Y  Y  Y  Y  Y  Y  Y  Y  Y  Y   any   no   202 =
unlock              Y  Y  Y  Y  Y  Y  Y  Y  Y  Y  Y   any   no   202 =
os-resetState       Y  Y  Y  Y  Y  Y  Y  Y  Y  Y  Y   any   no   202 -
rescue              Y  -  -  -  Y  -  -  -  Y  -  -   0     L    501 -
unrescue            -  -  -  -  -  Y  -  -  -  -  -   0     L    501 -
changePassword      Y  -  -  -  -  -  -  -  -  -  -   0     L    501 -
trigger_crash_dump  Y  -  Y  -  -  Y  Y  -  Y  -  -   0     L    400 -
resize              Y  -  -  -  Y  -  -  -  -  -  -   0     L    400 -
migrate             Y  -  -  -  Y  -  -  -  -  -  -   0     L    202 resize_prep
os-migrateLive      Y  -  -  -  -  -  -  -  -  -  -   0     L    202 migrating
confirmResize       -  -  -  -  -  -  Y  -  -  -  -   0     L    400 -
revertResize        -  -  -  -  -  -  Y  -  -  -  -   0     L    400 -
shelve              Y  -  Y  Y  Y  -  -  -  -  -  -   0     L    400 -
shelveOffload       -  -  -  -  -  -  -  -  -  Y  -   0     L    400 -
unshelve            -  -  -  -  -  -  -  -  -  Y  Y   0     L    400 -
restore             -  -  -  -  -  -  -  Y  -  -  -   0     L    400 -
"""
HARD = {None, "rebooting", "reboot_pending", "reboot_started", "rebooting_hard"} | {
    "resuming",
    "unpausing",
    "pausing",
    "suspending",
}
TASKS: tuple[str | None, ...] = (None, *(task.value for task in TaskState))
# Never launched is fine for these.
UNLAUNCHED = {"delete", "forceDelete", "lock", "unlock", "os-resetState"}
NEED_HOST = {"os-start", "os-stop"}
ADMINISTRATORS = {"evacuate", "os-resetState", "migrate", "os-migrateLive", "shelveOffload"}
# Nova lets an evacuation go on beside a delete. Here the delete wins, as over everything else.
STRICTER = {("evacuate", "deleting")}

BODIES: dict[str, Any] = {
    "reboot SOFT": {"reboot": {"type": "SOFT"}},
    "reboot HARD": {"reboot": {"type": "HARD"}},
    "rebuild": {"rebuild": {"imageRef": IMAGE}},
    "evacuate": {"evacuate": {}},
    "os-migrateLive": {"os-migrateLive": {"host": None, "block_migration": "auto"}},
    "createImage": {"createImage": {"name": "x"}},
    "createBackup": {"createBackup": {"name": "x", "backup_type": "daily", "rotation": 1}},
    "os-resetState": {"os-resetState": {"state": "active"}},
}


class Rule(NamedTuple):
    """A row of the table."""

    action: str
    states: set[str]
    tasks: set[str | None]
    lock: bool
    code: int
    sets: str


def rule(line: str) -> Rule:
    words = line[20:].split()
    cells, (tasks, lock, code, sets) = words[: len(STATES)], words[len(STATES) :]
    allowed: dict[str, set[str | None]] = {"0": {None}, "any": set(TASKS), "HARD": set(HARD)}
    states = {state for state, cell in zip(STATES, cells, strict=True) if cell == "Y"}
    return Rule(line[:20].strip(), states, allowed[tasks], lock == "L", int(code), sets)


RULES = [rule(line) for line in TABLE.strip("\n").splitlines()[1:]]


WRITTEN = [table.select().order_by(table.c.id) for table in (actions, operations, migrations)]


async def everything(api: ComputeApi, server: Server) -> Any:
    """Return what a request could change."""

    def work(tx: Any) -> Any:
        return [[tuple(each) for each in tx.execute(rows)] for rows in WRITTEN]

    written = await api.cloud.database.read(work)
    return await row(api, server), written, len(api.operations.started), set(api.images)


class Bench:
    """Servers in any state, on a host that lives or, for an evacuation, is forced down and silent."""

    def __init__(self, api: ComputeApi, rule: Rule) -> None:
        self.api = api
        self.rule = rule
        self.host: HostId | None = None

    async def prepare(self) -> None:
        dead = self.rule.action == "evacuate"
        live = self.rule.action == "os-migrateLive"
        self.host = host = await self.api.have_host("compute1", alive=not dead, live=live)
        if dead:
            await self.api.have_host("compute2")
            await self.api.cloud.database.transact(lambda tx: hosts.change(tx, host, forced_down=True))

    async def server(self, vm_state: str, task: str | None, **values: Any) -> Server:
        usual: dict[str, Any] = {
            "vm_state": VmState(vm_state),
            "task_state": TaskState(task) if task else None,
            "host": self.host,
            "host_name": "compute1",
        }
        return await self.api.have_server(**{**usual, **values})

    async def ask(self, server: Server, who: str) -> Any:
        name = self.rule.action
        if name == "delete":
            return await self.api.compute(who, f"DELETE /servers/{server.id}", None, "2.95")
        body = BODIES.get(name, {name: None})
        return await self.api.compute(who, f"POST /servers/{server.id}/action", body, "2.95")

    async def accepted(self, server: Server, who: str) -> None:
        answer = await self.ask(server, who)
        cell = f"{self.rule.action} while {server.vm_state}, {server.task_state}: {answer.text}"
        assert answer.status_code == self.rule.code, cell
        if self.rule.code < 300:
            wanted = {"-": None, "=": server.task_state}.get(self.rule.sets, self.rule.sets)
            assert (await row(self.api, server)).task_state == wanted, cell

    async def refused(self, server: Server, who: str, code: int, *says: str) -> None:
        before = await everything(self.api, server)
        answer = await self.ask(server, who)
        cell = f"{self.rule.action} while {server.vm_state}, {server.task_state}: {answer.text}"
        assert answer.status_code == code, cell
        ((_, inner),) = answer.json().items()
        assert all(word in inner["message"] for word in (*says, server.id)), cell
        assert await everything(self.api, server) == before, cell


@pytest.fixture(params=RULES, ids=lambda rule: rule.action)
async def bench(api: ComputeApi, request: pytest.FixtureRequest) -> Bench:
    made = Bench(api, request.param)
    await made.prepare()
    return made


def who_may(rule: Rule) -> str:
    return "admin" if rule.action in ADMINISTRATORS else "demo"


async def hold(bench: Bench, vm_state: str, task: str | None) -> None:
    """Assert that the action is done or refused in this state as the table has it."""
    rule = bench.rule
    word = rule.action.partition(" ")[0].removeprefix("os-")
    server = await bench.server(vm_state, task)
    if vm_state not in rule.states:
        await bench.refused(server, who_may(rule), 409, word, f"vm_state {vm_state}")
    elif task not in rule.tasks or (rule.action, task) in STRICTER:
        await bench.refused(server, who_may(rule), 409, word, f"task_state {task}")
    else:
        await bench.accepted(server, who_may(rule))


async def test_an_action_is_done_in_just_the_states_that_nova_allows(bench: Bench) -> None:
    for vm_state in STATES:
        await hold(bench, vm_state, None)
    for task in TASKS:
        await hold(bench, min(bench.rule.states), task)


@pytest.mark.slow
async def test_no_combination_of_states_is_otherwise(bench: Bench) -> None:
    for vm_state in STATES:
        for task in TASKS:
            await hold(bench, vm_state, task)


async def test_a_lock_counts_where_nova_says_and_not_for_administrators(bench: Bench) -> None:
    rule = bench.rule
    for vm_state in STATES:
        if vm_state not in rule.states:
            continue
        for locked_by in ("owner", "admin"):
            server = await bench.server(vm_state, None, locked_by=locked_by)
            if rule.action in ADMINISTRATORS:
                pass  # nobody else may, locked or not
            elif rule.action == "unlock" and locked_by == "admin":
                answer = await bench.ask(server, "demo")
                assert answer.status_code == 403
            elif rule.lock:
                await bench.refused(server, "demo", 409, "is locked")
            elif rule.action != "unlock":
                await bench.accepted(await bench.server(vm_state, None, locked_by=locked_by), "demo")
            await bench.accepted(server, "admin")


async def test_what_never_started_can_only_be_deleted_and_marked(bench: Bench) -> None:
    rule = bench.rule
    for vm_state in STATES:
        if vm_state in rule.states:
            server = await bench.server(vm_state, None, launched_at=None)
            if rule.action in UNLAUNCHED:
                await bench.accepted(server, who_may(rule))
            else:
                await bench.refused(server, who_may(rule), 409)


async def test_what_has_no_host_is_not_ready(bench: Bench) -> None:
    if bench.rule.action in NEED_HOST:
        for vm_state in bench.rule.states:
            server = await bench.server(vm_state, None, host=None, host_name=None)
            await bench.refused(server, "demo", 409, "is not ready")
