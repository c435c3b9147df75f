"""Who may not evacuate yet is told the truth about what the end of the host's lease will prove, and of whom."""

from dataclasses import replace as with_parts
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from renova.model.host import GuardClass
from renova.model.sighting import Sighting
from renova.operations.evacuate import missing_proof
from renova.store import hosts
from renova.store.database import Tx
from tests.unit.store.tables import A

from .small_cloud import SmallCloud

CHOSEN = {"accepted_proofs": ("power_off", "lease_revoked", "operator", "storage_cut")}
NO_LEASES = {"accepted_proofs": ("power_off", "operator")}
ONLY_CUT = {"accepted_proofs": ("power_off", "operator", "storage_cut")}
VIRTUAL, WEAK = {"accept_virtual_guard": True}, {"accept_weak_guard": True}
STOPPED = "Else its lease is revoked in 12 s, and its guard of class {} has stopped its guests by then."
SOME = "In 12 s its lease is revoked, for servers whose disks are all volumes: storage cuts them off."


@pytest.mark.parametrize(
    ("guard", "settings", "said"),
    [
        ("none", {}, "Its lease alone will never prove it: no armed guard runs there"),
        ("none", CHOSEN, SOME),
        ("V", {}, "Its lease alone will never prove it: it is a virtual machine"),
        ("V", CHOSEN, SOME),
        ("V", VIRTUAL, STOPPED.format("V")),
        ("V", CHOSEN | VIRTUAL, STOPPED.format("V")),
        ("B", {}, "Its lease alone proves it only for servers whose disks are all volumes: its guard is of class B"),
        (
            "B",
            CHOSEN,
            "Its lease alone proves it only for servers whose disks are all volumes: its guard is of class B",
        ),
        ("C", CHOSEN | WEAK, STOPPED.format("C")),
        ("A", CHOSEN, STOPPED.format("A")),
        ("A", NO_LEASES, "Its lease proves nothing here (setting accepted_proofs), though its guard is armed."),
        ("A", ONLY_CUT, SOME),
        ("B", ONLY_CUT, SOME),
    ],
)
def test_what_the_end_of_its_lease_will_prove(
    small: SmallCloud, guard: str, settings: dict[str, Any], said: str
) -> None:
    assert said in words(small, GuardClass(guard), settings)


@pytest.mark.parametrize(
    ("isolated_too", "said"), [(False, "Its lease is not revoked while others see that it lives"), (True, SOME)]
)
def test_a_host_that_others_see_alive_is_not_said_to_be_cut_off_soon(
    small: SmallCloud, isolated_too: bool, said: str
) -> None:
    small.hosts.sighted = lambda _host: Sighting(answers=True)
    assert said in words(small, GuardClass.NONE, CHOSEN | {"fence_isolated": isolated_too})


def words(small: SmallCloud, guard: GuardClass, settings: dict[str, Any]) -> str:
    """Return what is said of a host that has been silent for 20 s."""
    small.have_host(A)
    small.cloud = with_parts(small.cloud, settings=replace(small.cloud.settings, **settings))

    def work(tx: Tx) -> str:
        tx.execute(update(hosts.leases).values(guard=guard, ttl=20.0, margin=12.0))
        host = hosts.get(tx, A)
        assert host is not None
        return missing_proof(small.cloud, tx, host, 20.0)

    return small.tables.do(work)
