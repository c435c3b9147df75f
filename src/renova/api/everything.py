"""All services of a controller: a new one is named here."""

from starlette.types import ASGIApp

from renova.api import app, root
from renova.api.compute import service as compute
from renova.api.dispatch import Dispatcher, Service
from renova.api.ha import service as ha
from renova.api.hosts import service as hosts
from renova.api.identity import service as identity
from renova.api.image import service as image
from renova.api.network import service as network
from renova.api.placement import service as placement
from renova.api.policy import Policy
from renova.api.volume import service as volume
from renova.operations.cloud import Cloud

OF_ONE_VERSION = (root, identity, image, network, placement, hosts)
WITH_RULES = (identity, image, network, volume, compute, placement, ha, hosts)


def rules(policy_file: str = "") -> Policy:
    """Return who may do what, in all services."""
    return Policy({name: check for module in WITH_RULES for name, check in module.POLICY.items()}, policy_file)


def whole_api(cloud: Cloud, policy: Policy | None = None) -> ASGIApp:
    """Return the ASGI application of a controller; `policy`: the rules, where somebody has made them already."""
    return app.build(every_service(cloud), Dispatcher(cloud, policy or rules(cloud.settings.policy_file)))


def every_service(cloud: Cloud) -> list[Service]:
    """Return all services, each with its routes."""
    return [
        *compute.services(cloud),
        *volume.services_of(cloud),
        *ha.services_of(cloud),
        *(module.service(cloud) for module in OF_ONE_VERSION),
    ]
