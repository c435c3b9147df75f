"""The Compute API v2.1 with its microversions (Nova): runs in the controller.

`service` joins the resources; each of them is a file with its routes, the shapes of its requests and its answers.
`servers*` and `server_*` are about servers themselves, `action_*` are what POST /servers/{id}/action does. Handlers
check everything about a request first, and only then hand it to `operations`, which writes it down or refuses it.
"""
