"""The measure of a mass recovery does what it says, at a size that takes no time."""

from bench.recovering import Size, one_round

from renova.simulation.loop import run_virtual


def test_servers_of_dead_hosts_come_to_be_where_a_rehearsal_has_put_them() -> None:
    found = run_virtual(one_round(Size(hosts=30, dead=3, on_each=12)))
    assert found.as_said == 1.0
    assert found.waited_s <= 2.0
