"""The control plane's end of the wire: runs in the controller; called by operations, the monitor and the API.

`listener` accepts connections, `authority` says whose they are, `connections` serves them, `agents` commands and asks
who is connected. `registry` knows all hosts, `registration` gives each its place, `leases` keeps and watches their
leases.
"""
