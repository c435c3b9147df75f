"""All services behind one port: finds the service by the path's first words.

A service is added here and nowhere else. Paths are those of a DevStack cloud, so that documentation and habits fit.
"""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from renova.api.dispatch import Dispatcher, Service


def build(services: Sequence[Service], dispatcher: Dispatcher) -> ASGIApp:
    """Return the ASGI application of a controller."""
    mounts = sorted(((mount, service) for service in services for mount in service.mounts), key=lambda m: -len(m[0]))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan work: `main` starts and ends the parts; WebSockets have a port of their own
        path: str = scope["path"]
        for mount, service in mounts:
            if path.startswith(mount) and (len(path) == len(mount) or path[len(mount)] == "/" or mount == ""):
                await dispatcher.serve(service, mount, scope, receive, send)
                return

    return app
