"""Hosts as an operator wants to see them: where each stands, and why."""

from typing import Any

from renova.api.http import Call, Reply
from renova.model.host import Host, HostState
from renova.store import hosts as host_rows
from renova.store import migrations, rights
from renova.store.database import Tx


async def list_all(call: Call) -> Reply:
    call.demand("renova:hosts:list")

    def work(tx: Tx) -> list[dict[str, Any]]:
        return [_view(call, tx, host) for host in host_rows.every(tx)]

    return Reply(200, {"hosts": await call.cloud.database.read(work)})


def _view(call: Call, tx: Tx, host: Host) -> dict[str, Any]:
    lease = host_rows.lease(tx, host.id)
    proof = host_rows.proof(tx, host.id)
    silent_s = call.cloud.hosts.leases.silent_for(host.id)
    return {
        "id": host.id,
        "name": host.name,
        "state": host.state,
        "up": call.cloud.hosts.up(host.id) and host.state is HostState.UP and not host.forced_down,
        "connected": call.cloud.hosts.connected(host.id),
        "forced_down": host.forced_down,
        "disabled": host.disabled,
        "address": host.address,
        "accelerator": host.facts.accelerator if host.facts else None,
        "silent_s": None if silent_s is None else round(silent_s, 1),
        "epoch": lease.epoch if lease else None,
        "guard": lease.guard if lease else None,
        "proof": None
        if proof is None
        else {
            "kind": proof.kind,
            "epoch": proof.epoch,
            "readings": proof.readings,
            "who": proof.who,
            "created_at": proof.created_at,
        },
        "owes": [{"server": debt.server, "below": debt.below} for debt in rights.debts_of(tx, host.id)],
        "orphans": _orphans(call, host),
        "not_cleaned": migrations.unfinished_from(tx, host.id),
        "last_seen": host.last_seen,
    }


def _orphans(call: Call, host: Host) -> list[str]:
    """List guests of no known server, as they were found when somebody looked last."""
    rounds = call.cloud.rounds.last() if call.cloud.rounds else []
    found = [finding for each in rounds if each.name == "orphans" for finding in each.findings]
    return [finding.server for finding in found if finding.host == host.name and finding.server and not finding.mended]
