"""The service catalog: which services this cloud has, and where clients reach them."""

import hashlib

import msgspec

from renova.settings import ControllerSettings

INTERFACES = ("public", "internal", "admin")


class CatalogService(msgspec.Struct, frozen=True):
    """A service of the cloud; all its endpoints have one URL."""

    id: str
    type: str
    name: str
    description: str
    url: str

    def endpoint_id(self, interface: str) -> str:
        return _stable_id(f"endpoint {self.type} {interface}")


_SERVICES = (
    ("identity", "keystone", "Identity", "/identity"),
    ("image", "glance", "Image", "/image"),
    ("network", "neutron", "Networking", "/network"),
    ("compute", "nova", "Compute", "/compute/v2.1"),
    ("placement", "placement", "Placement", "/placement"),
    ("block-storage", "cinder", "Block Storage", "/volume/v3"),
    ("volumev3", "cinderv3", "Block Storage v3", "/volume/v3"),
    ("instance-ha", "masakari", "Instance High Availability", "/instance-ha/v1"),
)


def services(settings: ControllerSettings) -> list[CatalogService]:
    """List the services in the order in which clients show them."""
    return [
        CatalogService(_stable_id(f"service {kind}"), kind, name, f"{description} Service", settings.url + path)
        for kind, name, description, path in _SERVICES
    ]


def _stable_id(text: str) -> str:
    """Return an id that is the same in every controller and after every restart."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
