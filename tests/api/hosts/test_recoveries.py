"""What became of servers whose hosts died, with the certificate that each recovery rests on."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from renova.ha import brake
from renova.model.host import HostState
from renova.model.recovery import RecoveryState
from renova.operations.measures import Measures
from renova.store import cluster, hosts, recoveries
from renova.store.database import Tx
from tests.api.hosts.test_cluster import asked
from tests.api.hosts.test_hosts import SERVER, HostsApi, api, have_hosts
from tests.unit.store.tables import A

assert api, "a fixture"


def have_recovery(tx: Tx, **values: Any) -> None:
    proof = hosts.proofs_of(tx, A)[0]
    row: dict[str, Any] = {
        "server": SERVER,
        "name": "web",
        "host": A,
        "host_name": "name-of-host-a",
        "proof": proof.id,
        "state": RecoveryState.UP,
        "reason": "",
        "place": 0,
        "priority": 500,
        "after": (),
        "target": "name-of-host-b",
        "reached": "name-of-host-b",
        "attempts": 1,
        "detect_s": 5.0,
        "prove_s": 2.5,
        "proven_at": "2026-01-01T00:00:10.000000",
        "planned_at": "2026-01-01T00:00:11.000000",
        "begun_at": "2026-01-01T00:00:11.500000",
        "ended_at": "2026-01-01T00:00:15.500000",
        "predicted_up_s": 12.0,
    }
    recoveries.add(tx, **row | values)


async def test_a_recovery_is_shown_with_its_stages_and_its_certificate(api: HostsApi) -> None:
    await have_hosts(api)
    await api.cloud.database.transact(have_recovery)
    status, listed = await asked(api, "GET", "/recoveries")
    assert status == 200
    (one,) = listed["recoveries"]
    assert one["stages"] == {"detect": 5.0, "prove": 2.5, "plan": 1.0, "start": 0.5, "up": 4.0}
    assert (one["up_s"], one["predicted_up_s"], one["state"]) == (13.0, 12.0, "up")
    for which in (one["id"], SERVER, "web"):
        shown = (await asked(api, "GET", f"/recoveries/{which}"))[1]["recovery"]
        assert shown["certificate"]["kind"] == "power_off"
        assert shown["certificate"]["epoch"] == 2
        assert {name: shown[name] for name in one} == one


async def test_recoveries_are_listed_of_one_state_host_or_server(api: HostsApi) -> None:
    await have_hosts(api)
    await api.cloud.database.transact(have_recovery)

    async def count(query: str) -> int:
        return len((await asked(api, "GET", f"/recoveries?{query}"))[1]["recoveries"])

    assert await count("state=up") == await count("host=name-of-host-a") == await count(f"server={SERVER}") == 1
    assert await count("state=failed") == await count("host=name-of-host-b") == await count("server=another") == 0
    assert (await asked(api, "GET", "/recoveries?state=gone"))[0] == 400
    assert (await asked(api, "GET", "/recoveries?host=mars"))[0] == 404
    status, answer = await asked(api, "GET", "/recoveries/mars")
    assert (status, "`renova recoveries`" in answer["error"]["message"]) == (404, True)
    assert (await asked(api, "GET", "/recoveries/99"))[0] == 404
    assert (await asked(api, "GET", "/recoveries", who="demo"))[0] == 403


async def test_one_that_is_under_way_has_the_stages_that_it_has_passed(api: HostsApi) -> None:
    await have_hosts(api)
    begun = {"state": RecoveryState.MOVING, "ended_at": None, "reached": None}
    await api.cloud.database.transact(lambda tx: have_recovery(tx, **begun))
    shown = (await asked(api, "GET", "/recoveries/web"))[1]["recovery"]
    assert (shown["stages"]["start"], shown["stages"]["up"], shown["up_s"]) == (0.5, None, None)


async def test_the_brake_is_shown_and_released(api: HostsApi) -> None:
    assert (await asked(api, "GET", "/status"))[1]["brake"] is None
    assert (await asked(api, "POST", "/brake/release"))[0] == 409
    await api.cloud.database.transact(lambda tx: cluster.engage_brake(tx, "too many"))
    assert (await asked(api, "GET", "/status"))[1]["brake"] == "too many"
    assert (await asked(api, "POST", "/brake/release", who="demo"))[0] == 403
    status, shown = await asked(api, "POST", "/brake/release")
    assert (status, shown["brake"]) == (200, None)
    assert shown["brake_lifted_until"] is not None
    assert await api.cloud.database.transact(lambda tx: brake.admits(api.cloud, tx, A, frozenset()))


async def test_figures_are_told_in_prometheus_form_and_histograms_add_up(api: HostsApi) -> None:
    await have_hosts(api)
    await api.cloud.database.transact(have_recovery)
    (one,) = await api.cloud.database.read(recoveries.find)
    api.cloud.measures.note(one)
    api.cloud.measures.note(one)
    answer = await api.client.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert told["renova_recoveries", "up"] == 1
    assert told["renova_recoveries", "failed"] == 0, "none is a figure, too"
    assert told["renova_hosts", "dead"] == 1
    assert told["renova_brake",] == 0
    assert told["renova_recovery_stage_seconds_bucket", "0.5", "start"] == 2
    assert told["renova_recovery_stage_seconds_bucket", "2.0", "up"] == 0
    assert told["renova_recovery_stage_seconds_bucket", "+Inf", "up"] == 2
    assert told["renova_recovery_stage_seconds_sum", "up"] == 8
    assert told["renova_recovery_seconds_count",] == 2
    assert told["renova_recovery_late_seconds_sum",] == 2
    assert "name-of-host-a" not in answer.text, "whoever reaches the port may read it"


async def test_figures_are_told_in_openmetrics_to_who_asks_for_it(api: HostsApi) -> None:
    await have_hosts(api)
    answer = await api.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    lines = answer.text.splitlines()
    assert "# UNIT renova_recovery_seconds seconds" in lines
    assert "renova_recovery_seconds_count 0.0" in lines
    assert lines[-1] == "# EOF"


async def test_each_controller_of_a_process_counts_for_itself(api: HostsApi) -> None:
    await have_hosts(api)
    await api.cloud.database.transact(have_recovery)
    (one,) = await api.cloud.database.read(recoveries.find)
    Measures().note(one)
    assert "renova_recovery_seconds_count 0.0" in (await api.client.get("/metrics")).text.splitlines()


async def test_a_silent_host_says_what_would_prove_it_dead_and_a_dead_one_why_nothing_is_recovered(
    api: HostsApi,
) -> None:
    await have_hosts(api)
    shown = (await asked(api, "GET", "/hosts/name-of-host-a"))[1]["host"]
    assert (shown["standing"], shown["not_proven"]) == ("dead", None)
    assert "compute service set --enable name-of-host-a" in shown["not_recovered"]
    await api.cloud.database.transact(lambda tx: hosts.change(tx, A, disabled=False, forced_down=False))
    assert (await asked(api, "GET", "/hosts/name-of-host-a"))[1]["host"]["not_recovered"] is None
    await api.cloud.database.transact(lambda tx: hosts.change(tx, A, state=HostState.UP))
    await api.cloud.hosts.leases.look()
    await api.clock.sleep(30)
    shown = (await asked(api, "GET", "/hosts/name-of-host-a"))[1]["host"]
    assert shown["standing"] == "suspect"
    assert "switch its power off" in shown["not_proven"].lower()
    assert "`renova host vouch name-of-host-a`" in shown["not_proven"]
