"""Bugs of guests that hang: which silence counts as a hang, and whether anybody is told of one."""

from typing import Any

from renova.agent.hangs import Hangs
from renova.model.guest import Pulse, Reply
from renova.operations import report
from tests.simulation.planted.bugs import Patch, bug

WATCHED: dict[str, Any] = {"watched": True, "recovers": True, "users": 1}


@bug("m", "an agent inside that was ended counts as silent", "hung", "agent inside a guest", **WATCHED)
def ended_is_silent(patch: Patch) -> None:
    note = Hangs._note

    def taking_it_for_silent(self: Hangs, guest: Any, pulse: Pulse) -> None:
        known = self._known.get(guest.server)
        if known is not None and pulse.reply is Reply.NOBODY:
            pulse = Pulse(Reply.SILENT, known.life)
        note(self, guest, pulse)

    patch.setattr(Hangs, "_note", taking_it_for_silent)


@bug("n", "what hosts tell of a guest that hangs is dropped", "at_the_end", "guest hangs", **WATCHED)
def hang_dropped(patch: Patch) -> None:
    patch.setattr(report, "note_hang", lambda _cloud, _tx, _server, _why: None)
