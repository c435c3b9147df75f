"""Watches over hosts: runs in the controller, beside the API, above operations.

`monitor` looks at leases, seeks proofs for silent hosts, and has returning hosts pay their debts. Deciding what a
silence means is arithmetic, in `decide`.
"""
