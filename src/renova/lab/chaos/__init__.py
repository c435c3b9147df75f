"""Chaos: a cloud of the lab with real guests is used and hurt at random, mended, and looked over.

`campaign` runs one: `users` ask for things through the load balancer while `faults` strike; `watch` looks on from
outside; in the end `invariants` compares what the cloud says with what libvirt, the disks and the processes show.
Run by `script/chaos`.
"""
