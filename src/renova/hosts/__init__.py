"""The control plane's end of the wire: runs in the controller; called by operations, the monitor and the API.

`listener` accepts connections, `authority` says whose they are, `registry` serves them and sends commands,
`registration` gives a host its place, `leases` keeps and watches the hosts' leases.
"""
