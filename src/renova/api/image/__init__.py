"""The Image API v2 (Glance): runs in the controller; called by clients, serves `partners.image.builtin`.

`service` lists the routes and rules; `images` and `data` hold the handlers, `shapes` what images look like,
`lists` how they are searched, `patch` how they are changed, `schemas` what clients read about all that.
"""
