"""The Network API v2.0 (Neutron): runs in the controller; called by clients, works on the tables of `store`.

`service` lists the routes and rules; the other modules hold the handlers, a noun each. Operations come to the same
tables through `partners.network`.
"""
