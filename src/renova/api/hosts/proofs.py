"""Proofs that hosts were dead, with what each rests on and where it is weak."""

from typing import Any

from renova.api.http import Call, Reply
from renova.model.host import Proof, ProofKind
from renova.store import hosts
from renova.store.database import Tx


async def list_all(call: Call) -> Reply:
    call.demand("renova:hosts:list")

    def work(tx: Tx) -> list[dict[str, Any]]:
        return [proof_view(tx, proof) for proof in hosts.proofs_of(tx)]

    return Reply(200, {"proofs": await call.cloud.database.read(work)})


def proof_view(tx: Tx, proof: Proof) -> dict[str, Any]:
    return {
        "host": hosts.name(tx, proof.host),
        "kind": proof.kind,
        "epoch": proof.epoch,
        "readings": proof.readings,
        "who": proof.who,
        "created_at": proof.created_at,
        "withdrawn": proof.withdrawn,
        "says": _certificate(proof),
    }


def _certificate(proof: Proof) -> str:
    """Say in one sentence how far the proof can be relied on."""
    match proof.kind:
        case ProofKind.OPERATOR:
            return f"vouched by {proof.who}, not verified"
        case ProofKind.HEARTBEAT_AGE:
            return "silence only, accepted by setting: its guests may run"
        case ProofKind.NEW_BOOT:
            return "the host has booted: what ran before does not"
        case ProofKind.STORAGE_CUT:
            return (
                "its lease was revoked, and storage cuts off volumes: for servers without other disks. An old guest "
                "may still run, and answer on the network"
            )
        case ProofKind.POWER_OFF:
            return _power_certificate(proof.readings)
    return proof.kind


def _power_certificate(readings: dict[str, str]) -> str:
    ours = not readings.get("commanded", "refused").startswith("refused")
    how = "switched off by us, and power read as off twice" if ours else "power read as off twice"
    whose = "" if readings.get("system", "not told") == "not told" else ", of the machine that was enrolled"
    untested = ", untested BMC" if readings.get("rehearsed") == "never" else ""
    return f"{how}{whose}{untested}; as good as who reads it"
