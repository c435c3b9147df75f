"""The control plane's end of the wire: connections of hosts, and the commands sent over them."""


class Hosts:
    """The hosts that are connected to this controller."""
