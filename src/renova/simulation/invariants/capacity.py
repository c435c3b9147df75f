"""Nobody is given more of a host than it has (capacity)."""

from renova.simulation.invariants.view import View
from renova.simulation.ledger import Change


def room_taken(view: View, change: Change) -> None:
    """Check what is held of a host of one resource class, when it is more than before."""
    row, before = change.new or {}, (change.old or {}).get("used", 0)
    if row["used"] > before:
        room = (row["total"] - row["reserved"]) * row["allocation_ratio"]
        name = view.names.get(row["provider"], row["provider"])
        view.checks.demand(
            row["used"] <= room, "capacity", f"{row['used']} of {room:g} {row['resource_class']} are held of {name}"
        )
