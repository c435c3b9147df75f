"""The guard of a host: holds the host's lease, and stops the guests where it ends.

A small process of its own, one a host, that starts before anything that could run a guest. It has connections of its
own to every controller (`uplink`), over one of which it renews the lease (`home`, `lease`); an agent that crashes,
hangs or is upgraded does not touch it. Armed, it keeps a gate closed whenever the lease does not hold (`keeper`).
Unarmed, which is the default, it renews, and stops nothing. Started by `main` and by the simulation.
"""
