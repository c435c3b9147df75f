"""All measures, by name, in the order in which they run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import changing, evacuating, placing, planning, reading, recovering, resting, starting, telling
from bench.figures import Figure
from bench.subject import Subject


@dataclass(frozen=True)
class OnCloud:
    """A measure of a cloud that is up; `own_only` if it needs the power or the processes of the bench's own."""

    run: Callable[[Subject], Awaitable[list[Figure]]]
    own_only: bool = False


@dataclass(frozen=True)
class Alone:
    """A measure that makes clouds as it needs them."""

    run: Callable[[], Awaitable[list[Figure]]]


MEASURES: dict[str, OnCloud | Alone] = {
    "idle": OnCloud(resting.idle, own_only=True),
    "show": OnCloud(reading.show),
    "list-50": OnCloud(reading.list_50),
    "create": OnCloud(changing.create),
    "reboot": OnCloud(changing.reboot),
    "rebuild": OnCloud(changing.rebuild),
    "evacuate": OnCloud(evacuating.evacuate, own_only=True),
    "list-1000": OnCloud(reading.list_1000),
    "evacuations": Alone(evacuating.evacuations),
    "operations": Alone(telling.telling),
    "placing": Alone(placing.placing),
    "planning": Alone(planning.planning),
    "recovering": Alone(recovering.recovering),
    "agent": Alone(resting.agent),
    "cold-start": Alone(starting.cold_start),
    "hosts-1000": Alone(starting.many_hosts),
}
