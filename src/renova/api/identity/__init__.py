"""The Identity API v3 (Keystone): runs in the controller; serves `partners.identity.builtin`.

`service` lists the routes and rules; the other modules hold the handlers, a noun each.
"""
