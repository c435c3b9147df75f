"""Measures a cloud over HTTP, as its clients see it, with what each of its processes spends: `script/bench`.

It runs a simulated cloud of its own (`cloud`), acts on it as a project that it makes for itself (`tenant`, over
`client`), and reads what the processes spent from the kernel (`meter`). What is measured stands in `reading`,
`changing`, `evacuating`, `resting` and `starting`; `measures` lists it. No figure here is ever a test's.
"""
