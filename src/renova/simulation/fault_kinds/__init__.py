"""All kinds of faults there are, by what they strike. Durations are true seconds; a repair never depends on luck."""

from renova.simulation.fault_kinds import (
    crash_points,
    database,
    hangs,
    lines,
    machines,
    power,
    processes,
    receiver,
    witness,
)

# Their order is part of what follows from a seed.
KINDS = (
    *processes.KINDS,
    *machines.KINDS,
    *lines.KINDS,
    *database.KINDS,
    *power.KINDS,
    *crash_points.KINDS,
    *receiver.KINDS,
    *witness.KINDS,
    *hangs.KINDS,
)
