"""How a guest is watched from outside, as flavor and image say it (Nova's names): by a watchdog, by an agent inside.

Nova's rule: what the image says of the watchdog counts before what the flavor says; without a word there is none.
"""

from collections.abc import Mapping

WATCHDOG_SPEC, WATCHDOG_PROPERTY, AGENT_PROPERTY = "hw:watchdog_action", "hw_watchdog_action", "hw_qemu_guest_agent"
# What QEMU does with a guest that no longer feeds its watchdog; of one that is disabled there is no device.
WATCHDOG_ACTIONS = ("none", "pause", "poweroff", "reset", "disabled")
_YES = frozenset({"1", "t", "true", "on", "y", "yes"})  # oslo.utils' words, as Nova reads the property


def watchdog(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> str:
    """Return what the guest's watchdog does; "" where it has none."""
    action = properties.get(WATCHDOG_PROPERTY) or extra_specs.get(WATCHDOG_SPEC) or "disabled"
    return action if action in WATCHDOG_ACTIONS and action != "disabled" else ""


def has_agent(properties: Mapping[str, str]) -> bool:
    """Say whether the guest is to have a way to an agent inside."""
    return str(properties.get(AGENT_PROPERTY, "")).strip().lower() in _YES
