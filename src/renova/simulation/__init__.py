"""The deterministic simulation: the real control plane and the real agents, in virtual time, with injected faults.

One process, no threads, no sockets; every run follows from its seed. Composes like `main`, and is called by tests.
"""
