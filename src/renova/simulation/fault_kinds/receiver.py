"""Who is told of events is away, and not each of its answers arrives.

Only some runs have a receiver: these are drawn by a chance of their own, so that the others' faults are the same ones.
"""

from renova.simulation.fault_kinds import targets
from renova.simulation.faults import Kind, Striking
from renova.simulation.receiver import Receiver

_SHARE = 0.3  # of the answers


def _receiver(striking: Striking) -> Receiver:
    receiver = striking.world.sink
    assert isinstance(receiver, Receiver)
    return receiver


async def away(striking: Striking) -> None:
    receiver = _receiver(striking)
    receiver.away += 1
    striking.fired()
    await striking.wait_either((0.2, 3.0), (3.0, 20.0))
    receiver.away -= 1
    striking.mended()


async def lose_answers(striking: Striking) -> None:
    def loses() -> bool:
        if lost := striking.often(_SHARE):
            striking.fired()
        return lost

    receiver = _receiver(striking)
    receiver.loses_answer = loses
    await striking.wait(5.0, 20.0)
    receiver.loses_answer = None
    striking.mended()


KINDS = (
    Kind("receiver of events away", targets.receiver, away, 2.0, drawn_by="receiver faults"),
    Kind("receiver's answer lost", targets.receivers_answers, lose_answers, 2.0, drawn_by="receiver faults"),
)
