"""The Block Storage API v3 (Cinder): runs in the controller; called by clients, serves `partners.volume.builtin`.

`service` lists resources, routes and rules; every other file is one resource, or what several share: `versions`,
`paging`, `found` (which volume or snapshot a request is about).
"""
