"""Power controllers by Renova's own API: wired once they have answered, shown without secrets, tried when asked.

They speak to sushy-tools' BMC, whose machine is a process.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from renova.hosts.registration import enrol, welcome
from renova.lab.bmc import USER
from renova.store import hosts, power_controllers, rights
from renova.store.database import Tx
from tests.api.hosts.test_hosts import SERVER, TIME, HostsApi, api
from tests.api.service_cloud import Like
from tests.contract.bmc import PASSWORD, Bmc, bmc, needs_fence_agents
from tests.unit.hosts.hellos import TIMES, a_hello
from tests.unit.store.tables import A, B

assert api, "a fixture"

pytestmark = pytest.mark.slow

POWER = f"/renova/v1/hosts/name-of-{A}/power"
OTHER = "99999999-9999-4999-8999-999999999999"


@pytest.fixture(scope="module")
def shared_bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    with bmc(tmp_path_factory.mktemp("bmc") / "bmc") as running:
        yield running


@pytest.fixture
async def a_bmc(api: HostsApi, shared_bmc: Bmc) -> Bmc:
    """A BMC whose machine is on; host A is silent, host B was never up."""

    def work(tx: Tx) -> None:
        for host in (A, B):
            enrol(tx, host, f"name-of-{host}", "certificate")
        welcome(tx, A, a_hello(A, system=shared_bmc.system), TIMES)

    await api.cloud.database.transact(work)
    await api.cloud.hosts.leases.look()
    await api.clock.sleep(100)
    if shared_bmc.process(shared_bmc.system) is None:
        await have(api, wiring(shared_bmc))
        await api.ask("admin", f"POST {POWER}/switch", {"power": "on"})
        await api.ask("admin", f"DELETE {POWER}")
    return shared_bmc


def wiring(bmc: Bmc, **changes: Any) -> dict[str, Any]:
    options = {"verify": str(bmc.authority), "system": f"/redfish/v1/Systems/{bmc.system}"}
    wired = {"kind": "redfish", "address": bmc.url, "username": USER, "options": options}
    return wired | {"secrets": {"password": PASSWORD}} | changes


async def have(api: HostsApi, wanted: dict[str, Any]) -> None:
    answer = await api.ask("admin", f"PUT {POWER}", wanted)
    assert answer.status_code == 200, answer.text


async def nothing_is_wired(api: HostsApi) -> bool:
    return not await api.cloud.database.read(power_controllers.every)


async def test_what_is_wired_is_shown_with_how_far_it_can_be_relied_on(api: HostsApi, a_bmc: Bmc) -> None:
    wired = wiring(a_bmc)
    shown = {
        "host": f"name-of-{A}",
        "kind": "redfish",
        "address": a_bmc.url,
        "username": USER,
        "options": wired["options"],
        "secrets": ["password"],
        "key": Like("[0-9a-f]{8}"),
        "system": a_bmc.system,
        "tested_at": TIME,
        "rehearsed_at": None,
        "barred": None,
        "says": "untested BMC: it was never seen to switch this host off and on",
        "wired_by": "admin",
    }
    await api.play(
        "",
        [
            ("admin", f"GET {POWER}", None, 404, None),
            ("demo", f"PUT {POWER}", wired, 403, None),
            ("admin", f"PUT {POWER}", wired, 200, {"power": shown}),
            ("demo", f"GET {POWER}", None, 403, None),
            ("admin", f"GET {POWER}", None, 200, {"power": shown}),
            (
                "admin",
                f"GET /renova/v1/hosts/name-of-{A}",
                None,
                200,
                {"host": {"power": Like("redfish at .*untested BMC.*")}},
            ),
            ("demo", f"POST {POWER}/test", None, 403, None),
            ("admin", f"POST {POWER}/test", None, 200, {"reading": {"power": "on", "system": a_bmc.system, "why": ""}}),
            ("demo", f"DELETE {POWER}", None, 403, None),
            ("admin", f"DELETE {POWER}", None, 204, None),
            ("admin", f"DELETE {POWER}", None, 404, None),
            ("admin", f"POST {POWER}/test", None, 404, None),
            ("admin", "GET /renova/v1/hosts/mars/power", None, 404, None),
        ],
    )


async def test_a_password_is_kept_encrypted_and_shown_nowhere(api: HostsApi, a_bmc: Bmc, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        answers = [
            await api.ask("admin", f"PUT {POWER}", wiring(a_bmc)),
            await api.ask("admin", f"GET {POWER}"),
            await api.ask("admin", f"POST {POWER}/test"),
            await api.ask("admin", f"PUT {POWER}", wiring(a_bmc, address="https://127.0.0.1:9")),
            await api.ask("admin", f"PUT {POWER}", wiring(a_bmc, kind="no such kind")),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 409, 400]
    assert not [answer for answer in answers if PASSWORD in answer.text]
    assert PASSWORD not in str(logs)
    (row,) = await api.cloud.database.read(power_controllers.every)
    assert PASSWORD not in str(row)
    assert PASSWORD.encode() not in base64.b64decode(row.sealed.partition(":")[2])
    assert (tmp_path / "power-keys").exists()


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        ({"kind": "ipmi"}, 400, "no kind 'ipmi'"),
        ({"kind": "fence_agent"}, 400, "names the program"),
        ({"address": "bmc"}, 400, "looks like"),
        ({"colour": "red"}, 400, "colour"),
        ({"options": {"system": 1}}, 400, "options"),
        ({"secrets": {"password": "wrong"}}, 409, "refuses user 'fencer'"),
        ({"address": "https://127.0.0.1:9"}, 409, "Unable to connect"),
    ],
)
async def test_what_cannot_be_or_does_not_answer_is_not_kept(
    api: HostsApi, a_bmc: Bmc, changes: dict[str, Any], status: int, why: str
) -> None:
    answer = await api.ask("admin", f"PUT {POWER}", wiring(a_bmc, **changes))
    assert (answer.status_code, why in answer.json()["error"]["message"]) == (status, True), answer.text
    assert await nothing_is_wired(api)


async def test_the_bmc_of_another_machine_is_refused(api: HostsApi, a_bmc: Bmc) -> None:
    await api.cloud.database.transact(lambda tx: hosts.change(tx, A, system=OTHER))
    answer = await api.ask("admin", f"PUT {POWER}", wiring(a_bmc))
    assert answer.status_code == 409
    assert a_bmc.system in answer.text
    assert OTHER in answer.text
    assert await nothing_is_wired(api)


async def test_a_bmc_that_says_off_of_a_host_that_is_heard_is_refused(api: HostsApi, a_bmc: Bmc) -> None:
    await have(api, wiring(a_bmc))
    await api.ask("admin", f"POST {POWER}/switch", {"power": "off"})
    await api.ask("admin", f"DELETE {POWER}")
    await be_heard(api)
    answer = await api.ask("admin", f"PUT {POWER}", wiring(a_bmc))
    assert (answer.status_code, "is heard" in answer.text) == (409, True)
    assert await nothing_is_wired(api)


async def be_heard(api: HostsApi) -> None:
    lease = await api.cloud.database.read(lambda tx: hosts.lease(tx, A))
    assert lease is not None
    api.cloud.hosts.leases.begin(lease)


async def test_a_host_is_switched_off_and_on_and_seen_to_be(api: HostsApi, a_bmc: Bmc) -> None:
    await have(api, wiring(a_bmc))
    off = await api.ask("admin", f"POST {POWER}/switch", {"power": "off"})
    assert (off.status_code, off.json()["reading"]["power"]) == (200, "off")
    assert a_bmc.process(a_bmc.system) is None
    on = await api.ask("admin", f"POST {POWER}/switch", {"power": "on"})
    assert (on.status_code, on.json()["reading"]["power"]) == (200, "on")
    assert a_bmc.process(a_bmc.system) is not None


@needs_fence_agents
async def test_a_fence_agent_switches_the_same_machine(api: HostsApi, a_bmc: Bmc) -> None:
    options = {"agent": "fence_redfish", "ipport": str(a_bmc.port), "ssl_insecure": "1"}
    options |= {"systems_uri": f"/redfish/v1/Systems/{a_bmc.system}"}
    agent = wiring(a_bmc, kind="fence_agent", address="127.0.0.1", options=options)
    odd = await api.ask("admin", f"PUT {POWER}", agent | {"options": options | {"plugg": "3"}})
    assert (odd.status_code, "takes no plugg" in odd.text) == (400, True)
    await have(api, agent)
    shown = (await api.ask("admin", f"GET {POWER}")).json()["power"]
    assert shown["says"].endswith("it does not say whose power it reads")
    await api.ask("admin", f"POST {POWER}/switch", {"power": "off"})
    assert a_bmc.process(a_bmc.system) is None


async def test_a_host_that_is_up_is_switched_off_only_by_force(api: HostsApi, a_bmc: Bmc) -> None:
    await have(api, wiring(a_bmc))
    await be_heard(api)
    refused = await api.ask("admin", f"POST {POWER}/switch", {"power": "off"})
    assert (refused.status_code, f"renova host drain name-of-{A}" in refused.text) == (409, True)
    assert a_bmc.process(a_bmc.system) is not None
    assert (await api.ask("demo", f"POST {POWER}/switch", {"power": "off", "force": True})).status_code == 403
    assert (await api.ask("admin", f"POST {POWER}/switch", {"power": "reset"})).status_code == 400
    assert (await api.ask("admin", f"POST {POWER}/switch", {"power": "off", "force": True})).status_code == 200
    assert a_bmc.process(a_bmc.system) is None


async def test_a_rehearsal_switches_an_empty_host_off_and_on_and_is_noted(api: HostsApi, a_bmc: Bmc) -> None:
    await have(api, wiring(a_bmc))
    before = a_bmc.process(a_bmc.system)
    in_service = await api.ask("admin", f"POST {POWER}/rehearse")
    assert (in_service.status_code, "Empty it first" in in_service.text) == (409, True)

    def disable(tx: Tx) -> None:
        hosts.change(tx, A, disabled=True)
        rights.put(tx, SERVER, A, 1, 1)

    await api.cloud.database.transact(disable)
    full = await api.ask("admin", f"POST {POWER}/rehearse")
    assert (full.status_code, "has servers" in full.text) == (409, True)
    assert a_bmc.process(a_bmc.system) == before
    await api.cloud.database.transact(lambda tx: rights.release(tx, SERVER))
    done = await api.ask("admin", f"POST {POWER}/rehearse")
    assert done.status_code == 200, done.text
    assert done.json()["power"]["says"] == "seen to switch this host off and on"
    assert a_bmc.process(a_bmc.system) not in (None, before)
    await have(api, wiring(a_bmc))
    shown = (await api.ask("admin", f"GET {POWER}")).json()["power"]
    assert shown["rehearsed_at"] is None, "what was wired anew is to be rehearsed anew"


async def test_secrets_are_sealed_anew_by_the_newest_key(api: HostsApi, a_bmc: Bmc, tmp_path: Path) -> None:
    await have(api, wiring(a_bmc))
    old = (await api.ask("admin", f"GET {POWER}")).json()["power"]["key"]
    file = tmp_path / "power-keys"
    file.write_text(base64.b64encode(bytes(32)).decode() + "\n" + file.read_text())
    assert (await api.ask("demo", "POST /renova/v1/power/reseal")).status_code == 403
    assert (await api.ask("admin", "POST /renova/v1/power/reseal")).json() == {"resealed": 1}
    assert (await api.ask("admin", "POST /renova/v1/power/reseal")).json() == {"resealed": 0}
    assert (await api.ask("admin", f"GET {POWER}")).json()["power"]["key"] != old
    file.write_text(file.read_text().splitlines()[0])
    assert (await api.ask("admin", f"POST {POWER}/test")).json()["reading"]["power"] == "on"


async def test_a_secret_whose_key_is_gone_is_said_to_be(api: HostsApi, a_bmc: Bmc, tmp_path: Path) -> None:
    await have(api, wiring(a_bmc))
    row = await api.cloud.database.read(lambda tx: power_controllers.get(tx, A))
    assert row is not None
    gone = f"00000000:{row.sealed.partition(':')[2]}"
    await api.cloud.database.transact(lambda tx: power_controllers.change(tx, A, sealed=gone))
    answer = await api.ask("admin", f"POST {POWER}/test")
    assert (answer.status_code, "key 00000000 is not in" in answer.text) == (503, True)


async def test_a_host_that_is_removed_takes_its_power_controller_along(api: HostsApi, a_bmc: Bmc) -> None:
    await have(api, wiring(a_bmc))
    await api.cloud.database.transact(lambda tx: hosts.remove(tx, A))
    assert await nothing_is_wired(api)
