"""Every kind of power controller that a host can be given."""

from collections.abc import Mapping

from renova.aside import Aside
from renova.power import PowerSwitch
from renova.power.fence_agents import FenceAgentSwitch
from renova.power.wired import MakeSwitch


def every_kind() -> dict[str, MakeSwitch]:
    """Return by its name what makes a switch of each kind."""
    aside = Aside()

    def redfish(address: str, user: str, options: Mapping[str, str], secrets: Mapping[str, str]) -> PowerSwitch:
        from renova.power.redfish import RedfishSwitch  # noqa: PLC0415  a large library, where nobody may ever need it

        return RedfishSwitch(address, user, options, secrets, aside)

    def fence_agent(address: str, user: str, options: Mapping[str, str], secrets: Mapping[str, str]) -> PowerSwitch:
        return FenceAgentSwitch(address, user, options, secrets, aside)

    return {"redfish": redfish, "fence_agent": fence_agent}
