"""The Placement API, for reading: runs in the controller; called by operators' clients, reads `store.placement`.

Claims are made by operations, in the transaction that needs them; nobody writes through this API.
`service` lists the routes and rules, `providers` and `consumers` hold the handlers, `versions` the microversions.
"""
