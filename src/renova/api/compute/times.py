"""Times as clients see them; stored ones are UTC with microseconds (`model.clock.stamp`)."""

from datetime import UTC, datetime

from renova.model.clock import stamp
from renova.model.errors import Invalid


def seconds(stored: str) -> str:
    """Return 2026-01-02T03:04:05Z."""
    return f"{stored[:19]}Z"


def read(text: str, name: str) -> str:
    """Return a client's ISO 8601 time in the stored form; without a zone it is UTC. `Invalid`."""
    try:
        # A plus sign that was not escaped in a query arrives as a blank.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
        return stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise Invalid(f"Invalid input for query parameters {name}. Value: {text}. It is no ISO 8601 time.") from error
