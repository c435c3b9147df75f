"""The Placement API: runs in the controller; called by operators' clients and by services that place things.

Operations do not come by here: their claims are made in the transaction that needs them, on the same tables
(`store.placement`). `service` lists the routes and rules, `route` what all have in common, the others hold handlers.
What needs all providers at once is answered from a picture in memory (`shown`).
"""
