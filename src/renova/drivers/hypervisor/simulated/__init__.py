"""A hypervisor in memory, for the simulated cloud, the simulation and benchmarks: no threads, no files, no chance.

It obeys the Protocol like libvirt and passes the same contract tests (`hypervisor`, over a `machine` and its
`storage`); time comes from the clock it is given. What libvirtd would do, it does in no process of the agent's: that
may be killed meanwhile (`calls`). What lies past the Protocol is for tests and the simulation: power cuts, crashes,
guests that ignore ACPI, what guests wrote.
"""
