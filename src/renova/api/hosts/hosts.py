"""Hosts as an operator wants to see them: where each stands, and why; and what he says of them."""

from typing import Any

import msgspec

from renova.api.hosts.found import host_in_path
from renova.api.hosts.power import brief
from renova.api.hosts.proofs import proof_view
from renova.api.http import Call, Reply
from renova.ha.recovery import not_by_itself
from renova.ha.sightings import standing_of
from renova.model.errors import Conflict
from renova.model.host import Host, HostState, Role
from renova.operations.evacuate import missing_proof
from renova.store import cluster, executors, migrations, rights, volume_snapshots, volumes
from renova.store import hosts as host_rows
from renova.store.database import Tx


class Word(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody's word that a host is off. `now`: without waiting until its lease has lapsed."""

    now: bool = False


async def list_all(call: Call) -> Reply:
    call.demand("renova:hosts:list")

    def work(tx: Tx) -> list[dict[str, Any]]:
        return [_view(call, tx, host) for host in host_rows.every(tx)]

    return Reply(200, {"hosts": await call.cloud.database.read(work)})


async def show(call: Call) -> Reply:
    """Show one host, with every proof that was ever written of it."""
    call.demand("renova:hosts:list")
    host = await host_in_path(call)

    def work(tx: Tx) -> dict[str, Any]:
        proofs = [proof_view(tx, proof) for proof in host_rows.proofs_of(tx, host.id)]
        return {**_view(call, tx, host), "proofs": proofs}

    return Reply(200, {"host": await call.cloud.database.read(work)})


async def vouch(call: Call) -> Reply:
    """Take the caller's word that the host is off."""
    call.demand("renova:hosts:vouch")
    wanted = call.json(Word) if call.body else Word()
    host = await host_in_path(call)
    await call.cloud.hosts.vouch(host.id, call.caller.user_name, wanted.now)
    return await show(call)


async def clean(call: Call) -> Reply:
    """Have a host that is here clean up what is no longer its own; the answer says what it has yet to do."""
    call.demand("renova:hosts:clean")
    host = await host_in_path(call)
    standing = await call.cloud.database.read(cluster.get)
    if standing.hold is not None:
        raise Conflict(f"Nothing is cleaned up while the cluster is on hold: {standing.hold}")
    if call.cloud.agents.connected(host.id):
        call.cloud.agents.call_in_debts(host.id)
    elif call.cloud.hosts.leases.home(host.id) is None:  # else another controller has it, and reminds it by itself
        raise Conflict(f"Host {host.name} is not connected: it cleans up as soon as its agent runs.")
    return await show(call)


async def asides(call: Call) -> Reply:
    """List the disks that the host has set aside."""
    call.demand("renova:hosts:list")
    host = await host_in_path(call)
    return Reply(200, {"asides": msgspec.to_builtins(await call.cloud.agents.asides(host.id))})


async def trust_power(call: Call) -> Reply:
    """Believe readings of the host's power again: an operator has mended what made them wrong."""
    call.demand("renova:hosts:trust_power")
    host = await host_in_path(call)
    await call.cloud.database.transact(lambda tx: host_rows.change(tx, host.id, power_barred=None))
    return await show(call)


async def remove(call: Call) -> Reply:
    """Remove a storage host from the cloud, once it holds nothing; compute hosts go with their compute service."""
    call.demand("renova:hosts:remove")
    host = await host_in_path(call)
    if host.role is not Role.STORAGE:
        raise Conflict(f"Host {host.name} runs guests: delete its compute service instead.")

    def work(tx: Tx) -> None:
        if volumes.on_host(tx, host.id) or volume_snapshots.on_host(tx, host.id):
            raise Conflict(f"Host {host.name} still holds volumes or snapshots: delete them first.")
        host_rows.remove(tx, host.id)

    await call.cloud.database.transact(work)
    await call.cloud.agents.drop(host.id)
    return Reply(204)


def _home(call: Call, tx: Tx, host: Host) -> str | None:
    """Name the controller over whose connection the host renews its lease."""
    home = call.cloud.hosts.leases.home(host.id)
    return next((each.name for each in executors.every(tx) if each.id == home), None)


def _view(call: Call, tx: Tx, host: Host) -> dict[str, Any]:
    lease = host_rows.lease(tx, host.id)
    proof = host_rows.proof_of_some(tx, host.id)
    silent_s = call.cloud.hosts.leases.silent_for(host.id)
    silent = not call.cloud.hosts.leases.renews(host.id)
    return {
        "id": host.id,
        "name": host.name,
        "role": host.role,
        "state": host.state,
        "standing": standing_of(call.cloud, host),
        "up": call.cloud.hosts.up(host.id) and host.state is HostState.UP and not host.forced_down,
        "connected": call.cloud.agents.connected(host.id),  # to the controller that answers
        "home": _home(call, tx, host),
        "forced_down": host.forced_down,
        "forced_down_by": host.forced_down_by,
        "forced_down_at": host.forced_down_at,
        "disabled": host.disabled,
        "disabled_reason": host.disabled_reason,
        "disabled_by": host.disabled_by,
        "disabled_at": host.disabled_at,
        "address": host.address,
        "accelerator": host.facts.accelerator if host.facts else None,
        "seen_by_others": call.cloud.hosts.sighted(host.id).alive if silent else None,
        "sightings": call.cloud.hosts.sighted(host.id).readings if silent else {},
        "silent_s": None if silent_s is None else round(silent_s, 1),
        "era": host.era,
        "epoch": lease.epoch if lease else None,
        "guard": lease.guard if lease else None,
        "witness": bool(lease.witness) if lease else None,  # whether its guard may go on by what that shows
        "revoked": lease.to_show if lease else None,  # and the witness is to show it, before it proves anything
        "cut_off": lease.cut if lease else None,  # servers whose disks storage cuts off may leave it, no others
        "system": host.system,
        "power": brief(tx, host),
        "power_barred": host.power_barred,
        "proof": None if proof is None else proof_view(tx, proof),
        "not_proven": missing_proof(call.cloud, tx, host, silent_s) if silent and silent_s and _may_die(host) else None,
        "not_recovered": not_by_itself(call.cloud, host) if proof is not None else None,
        "owes": [
            {"server": debt.server, "below": debt.below, "trouble": debt.trouble}
            for debt in rights.debts_of(tx, host.id)
        ],
        "orphans": _orphans(call, tx, host),
        "not_cleaned": migrations.unfinished_from(tx, host.id),
        "last_seen": host.last_seen,
    }


def _may_die(host: Host) -> bool:
    """Say whether a proof of the host's death would change anything."""
    return host.role is Role.COMPUTE and host.state in (HostState.UP, HostState.RETURNING)


def _orphans(call: Call, tx: Tx, host: Host) -> list[str]:
    """List guests of no known server, as they were found when somebody looked last."""
    rounds = call.cloud.rounds.shown(tx) if call.cloud.rounds else []
    found = [finding for each in rounds if each.name == "orphans" for finding in each.findings]
    return [finding.server for finding in found if finding.host == host.name and finding.server and not finding.mended]
