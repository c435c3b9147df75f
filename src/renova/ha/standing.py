"""How a host stands, in a word that a person understands: made of what is known of it, and kept nowhere. Pure."""

from enum import StrEnum

from renova.model.host import Host, HostState


class Standing(StrEnum):
    """What a person wants to know first of a host."""

    ENROLLED = "enrolled"  # it may join, and never has
    UP = "up"
    SUSPECT = "suspect"  # it is not heard, and nobody has seen that it lives
    ISOLATED = "isolated"  # it is not heard by controllers, and others see that it lives
    DEAD = "dead"  # proven: its servers may go elsewhere
    RETURNING = "returning"  # alive again, and not done with cleaning up
    MAINTENANCE = "maintenance"  # somebody is at work there: its compute service is disabled


def standing(host: Host, *, silent: bool, seen: bool = False) -> Standing:
    """Say how the host stands. `silent`: it is not heard; `seen`: others have seen it alive since."""
    if host.state is HostState.ENROLLED:
        return Standing.ENROLLED
    if host.state is HostState.DEAD:
        return Standing.DEAD
    if host.disabled:
        return Standing.MAINTENANCE
    if silent:
        return Standing.ISOLATED if seen else Standing.SUSPECT
    return Standing.RETURNING if host.state is HostState.RETURNING else Standing.UP
