"""What is measured: a cloud, the project in it that asks, and its processes where they are ours."""

from dataclasses import dataclass

from bench.cloud import OwnCloud
from bench.meter import Meter
from bench.tenant import Tenant


@dataclass(frozen=True)
class Subject:
    """A cloud under measurement. Without `own` it is somebody's, seen from outside: no CPU, no memory, no power."""

    tenant: Tenant
    own: OwnCloud | None = None

    @property
    def meter(self) -> Meter:
        return Meter({}) if self.own is None else self.own.meter
