"""What the controller looks over now and then: what it found the last time, and to have it look now."""

from renova.api.http import Call, Reply
from renova.model.errors import NotNow
from renova.operations.rounds import Rounds


async def list_all(call: Call) -> Reply:
    call.demand("renova:duties:list")
    return Reply(200, {"duties": await _rounds(call).last()})


async def run(call: Call) -> Reply:
    """Do the duty now; the answer tells how it went."""
    call.demand("renova:duties:run")
    return Reply(200, {"duty": await _rounds(call).do(call.path["duty"])})


def _rounds(call: Call) -> Rounds:
    if call.cloud.rounds is None:
        raise NotNow("This controller has no duties.")
    return call.cloud.rounds
