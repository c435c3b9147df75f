"""When what has failed is tried again: ever later. Pure."""

from renova.model.clock import later

LONGEST = 20  # times the setting: so long what fails again and again is left alone


def again_at(failed_at: str, attempts: int, again_s: float) -> str:
    """Return when something is tried again after so many attempts that failed, the last of them then."""
    return later(failed_at, again_s * min(2 ** max(attempts - 1, 0), LONGEST))
