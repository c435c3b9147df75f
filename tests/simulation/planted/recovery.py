"""Bugs of how many hosts are taken for dead, and of how their servers come back by themselves."""

from typing import Any

from renova.ha import brake, recovery
from renova.store import hosts as host_rows
from tests.simulation.planted.bugs import Patch, bug


@bug(
    "33",
    "each controller has a brake of its own",
    "brake",
    "loses power",
    hosts=7,
    controllers=2,
    minutes=1.5,
    rate=2.0,
)
def brake_of_its_own(patch: Patch) -> None:
    def admits(cloud: Any, tx: Any, host: Any, silent: Any) -> bool:
        own = {proof.host for proof in host_rows.proofs_of(tx) if f"{cloud.settings.name}," in proof.who}
        return len(own | {host}) <= brake.limit(host_rows.members(tx, "", "9"), cloud.settings.brake)

    patch.setattr(brake, "admits", admits)


@bug(
    "j",
    "servers of dead hosts are planned for, and nobody begins",
    "recovered at_the_end",
    "loses power",
    recovers=True,
)
def never_begun(patch: Patch) -> None:
    patch.setattr(recovery, "whose_turn", lambda _recoveries, _limits: [])


@bug(
    "l",
    "servers are recovered though somebody is at work at their host",
    "maintained",
    "loses power",
    recovers=True,
    maintained=True,
)
def work_overlooked(patch: Patch) -> None:
    patch.setattr(recovery, "not_by_itself", lambda _cloud, _host: None)
