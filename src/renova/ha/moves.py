"""The servers of a dead host, and what has become of each of them by one proof of that death."""

from enum import StrEnum

import msgspec

from renova.model.ids import ServerId
from renova.model.recovery import Recovery, RecoveryState
from renova.store import migrations, recoveries, servers
from renova.store.database import Tx
from renova.store.migrations import Migration


class MoveState(StrEnum):
    """How far a server is on its way (Masakari, vmove statuses)."""

    PENDING = "pending"
    ONGOING = "ongoing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    IGNORED = "ignored"  # it is not to be moved


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One server's way off the dead host."""

    server: ServerId
    name: str
    source: str  # by name
    destination: str | None  # by name, once it is known
    state: MoveState
    message: str | None = None
    created_at: str
    begun_at: str | None = None
    ended_at: str | None = None


def moves_of(tx: Tx, proof: int) -> list[Move]:
    """List the moves that rest on the proof, a server each; beside recoveries, what somebody has evacuated by hand."""
    planned = {each.server: _by_recovery(each) for each in recoveries.of_proofs(tx, [proof])}
    newest = {each.server: each for each in reversed(migrations.of_proof(tx, proof))}
    by_hand = [_by_migration(tx, each) for server, each in newest.items() if server not in planned]
    return [*planned.values(), *by_hand]


_OF_RECOVERY = {
    RecoveryState.WAITING: MoveState.PENDING,
    RecoveryState.MOVING: MoveState.ONGOING,
    RecoveryState.UP: MoveState.SUCCEEDED,
    RecoveryState.FAILED: MoveState.FAILED,
}
_OF_MIGRATION = dict.fromkeys(migrations.ACTIVE, MoveState.ONGOING)
_OF_MIGRATION |= dict.fromkeys(("done", "completed"), MoveState.SUCCEEDED)


def _by_recovery(recovery: Recovery) -> Move:
    return Move(
        server=recovery.server,
        name=recovery.name,
        source=recovery.host_name,
        destination=recovery.reached or recovery.target,
        state=_OF_RECOVERY.get(recovery.state, MoveState.IGNORED),
        message=recovery.reason or None,
        created_at=recovery.planned_at,
        begun_at=recovery.begun_at,
        ended_at=recovery.ended_at,
    )


def _by_migration(tx: Tx, migration: Migration) -> Move:
    server = servers.get(tx, migration.server, deleted=True)
    state = _OF_MIGRATION.get(migration.status, MoveState.FAILED)
    fault = server.fault if server and state is MoveState.FAILED else None
    return Move(
        server=migration.server,
        name=server.name if server else migration.server,
        source=migration.source_name,
        destination=migration.destination_name,
        state=state,
        message=fault.in_full if fault else None,
        created_at=migration.created_at,
        begun_at=migration.created_at,
        ended_at=None if state is MoveState.ONGOING else migration.updated_at,
    )
