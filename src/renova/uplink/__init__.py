"""How a host reaches its controllers: who the host is, where they are, and a connection to each, kept up.

Used by both processes of a host, its agent and its guard, each of which holds connections of its own.
"""
