"""A cloud may grow, but never becomes another one."""

from pathlib import Path

import msgspec
import pytest

from renova.lab import blueprint
from renova.lab.blueprint import Blueprint, plan
from renova.lab.home import Home
from renova.model.errors import BadSetup

REAL = Blueprint(simulated=False, hosts=3, api_port=8774, agents_port=8775)


def test_a_new_cloud_is_the_usual_one_unless_told() -> None:
    assert plan(None, simulated=None, hosts=None, api_port=None) == REAL
    assert plan(None, simulated=True, hosts=5, api_port=9000) == Blueprint(
        simulated=True, hosts=5, api_port=9000, agents_port=9001
    )


def test_a_known_cloud_stays_as_it_is_and_may_grow() -> None:
    known = msgspec.structs.replace(REAL, api_port=9000, furnished=True)
    assert plan(known, simulated=None, hosts=None, api_port=None) == known
    assert plan(known, simulated=False, hosts=4, api_port=None) == msgspec.structs.replace(known, hosts=4)


def test_whether_servers_come_back_by_themselves_may_change() -> None:
    known = plan(None, simulated=None, hosts=None, api_port=None, recovery=True)
    assert known.recovery
    assert plan(known, simulated=None, hosts=None, api_port=None).recovery
    assert not plan(known, simulated=None, hosts=None, api_port=None, recovery=False).recovery


def test_whether_disks_are_shared_is_settled_with_the_first_plan() -> None:
    local = plan(None, simulated=None, hosts=None, api_port=None, local_disks=True)
    assert local.local_disks
    assert plan(local, simulated=None, hosts=None, api_port=None) == local
    with pytest.raises(BadSetup, match="settled when it is made"):
        plan(local, simulated=None, hosts=None, api_port=None, local_disks=False)


@pytest.mark.parametrize(
    ("simulated", "hosts", "reason"),
    [
        (True, None, "is a real one"),
        (None, 2, "has 3 hosts and cannot shrink"),
        (None, 0, "has 1 to 252 hosts, not 0"),
        (None, 253, "has 1 to 252 hosts, not 253"),
    ],
)
def test_what_would_make_it_another_cloud_is_refused(simulated: bool | None, hosts: int | None, reason: str) -> None:
    with pytest.raises(BadSetup, match=reason):
        plan(REAL, simulated=simulated, hosts=hosts, api_port=None)


def test_a_blueprint_is_read_as_it_was_written(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert blueprint.read(home) is None
    blueprint.write(home, REAL)
    assert blueprint.read(home) == REAL


def test_a_damaged_blueprint_says_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.cloud_json.write_text('{"hosts": 3')
    with pytest.raises(BadSetup, match="is damaged"):
        blueprint.read(home)


def test_hosts_are_known_by_name() -> None:
    assert REAL.names == ["host1", "host2", "host3"]
    assert REAL.number("host3") == 3
    with pytest.raises(BadSetup, match="no host host4 here; there are host1, host2, host3"):
        REAL.number("host4")


def test_several_controllers_have_ports_of_their_own_behind_that_of_the_api() -> None:
    two = plan(None, simulated=True, hosts=None, api_port=9000, controllers=2)
    assert two.controller_names == ["controller1", "controller2"]
    ports = [
        two.api_port,
        *two.database_ports,
        *map(two.controller_port, two.controller_names),
        *map(two.controller_agents_port, two.controller_names),
    ]
    assert len(set(ports)) == len(ports)
    one = plan(None, simulated=True, hosts=None, api_port=9000)
    assert (one.controller_names, one.controller_port("controller")) == (["controller"], 9000)


def test_how_many_controllers_there_are_is_settled_with_the_first_plan() -> None:
    two = plan(None, simulated=True, hosts=None, api_port=None, controllers=2)
    assert plan(two, simulated=None, hosts=None, api_port=None, controllers=2) == two
    assert plan(two, simulated=None, hosts=None, api_port=None) == two
    with pytest.raises(BadSetup, match="controllers"):
        plan(two, simulated=None, hosts=None, api_port=None, controllers=3)


def test_whether_hosts_are_armed_is_settled_with_the_first_plan_and_simulated_ones_never_are() -> None:
    armed = plan(None, simulated=False, hosts=None, api_port=None, armed=True)
    assert armed.armed
    assert plan(armed, simulated=None, hosts=None, api_port=None) == armed
    with pytest.raises(BadSetup, match="armed"):
        plan(armed, simulated=None, hosts=None, api_port=None, armed=False)
    with pytest.raises(BadSetup, match="cannot be armed"):
        plan(None, simulated=True, hosts=None, api_port=None, armed=True)


def test_a_witness_is_for_hosts_that_are_armed() -> None:
    witnessed = plan(None, simulated=False, hosts=None, api_port=None, armed=True, witness=True)
    assert plan(witnessed, simulated=None, hosts=None, api_port=None) == witnessed
    with pytest.raises(BadSetup, match="witness"):
        plan(witnessed, simulated=None, hosts=None, api_port=None, witness=False)
    with pytest.raises(BadSetup, match="armed"):
        plan(None, simulated=False, hosts=None, api_port=None, witness=True)
