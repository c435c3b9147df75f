"""The host's end: what runs on every host, beside guests that nobody trusts.

One process a host. It dials every controller (`service`, `uplink`), obeys numbered commands (`requests`, `orders`,
`guest`) through the host's hypervisor and network drivers, and keeps what it must never forget in `journal`. It reads
no database and decides nothing about other hosts. Started by `main` and by the simulation, which choose the drivers.
"""
