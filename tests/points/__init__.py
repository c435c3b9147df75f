"""Crashed, failed, repeated and delayed at every point: each operation, generated from what it does.

A case (`cases`) says how a cloud is made ready, what is asked of it, and how that ends. It is told once undisturbed:
the taps (`taps`, `cloud`) note every point that the operation passes: each transaction, each journal write, each call
of a driver or a partner, each message sent and each received. Then it is told anew for each point and each fault that
can happen there (`faults`): from the same prepared cloud, by a process forked off after the preparation (`telling`). In
the end everything is mended, and the invariants must hold; what users can see (`picture`) must be as undisturbed.
"""
