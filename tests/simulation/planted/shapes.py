"""Mixes of faults, and shapes of clouds, that bugs of several kinds come to light in."""

from typing import Any

LEASES: dict[str, Any] = {"by_silence": True, "margin": 1.0}  # no guard runs yet, so the margin need not wait for one
POWER = "loses power, isolated, controller frozen, agent frozen, line slow"
EVACUATING: dict[str, Any] = {"minutes": 1.5, "servers": 5, "pause_s": 0.5}
ARMED: dict[str, Any] = {"armed": True, "fencing": False, "minutes": 1.5}
