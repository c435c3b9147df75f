"""Placement: what providers have to give, and who holds how much of it (spec: scheduling, section 7).

A host is one resource provider with its id (`host_provider`, `removal`); operators may add others (`store.providers`).
Providers offer `inventories`, consumers hold `allocations` of them. Servers take theirs by `claims`, operators write
whole `holdings`.
"""
