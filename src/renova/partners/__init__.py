"""The services beside compute: identity, image, network. Each a Protocol and the built-in service.

Runs in the controller; operations and the API call them. A built-in one keeps its tables in `store`; the real
OpenStack service would sit behind the same Protocol, so every call is asynchronous and none is part of a caller's
transaction: calls say what should be and may be repeated.
"""
