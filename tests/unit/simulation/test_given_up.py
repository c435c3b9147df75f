"""An incarnation that a host has given up begins there no more, unless nobody is left who can know."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from renova.agent.journal import ServerPage
from renova.model.ids import ServerId
from renova.simulation.history import History
from renova.simulation.invariants.checks import Checks, Violation
from renova.simulation.invariants.debts import Debts
from renova.simulation.invariants.guests import Guests
from renova.simulation.invariants.rights import Rights
from renova.simulation.invariants.view import View

SERVER = ServerId("server")


class Host:
    """As much of a host as is looked at: its journal's page of the server, and the guest that executes."""

    def __init__(self) -> None:
        self.id = self.name = "host1"
        self.page = ServerPage()
        self.journal = SimpleNamespace(page=lambda _server: self.page)
        self.hypervisor = SimpleNamespace(executes=lambda _server: 7)


def begin(*, journal_lost: bool, commits_lost: bool) -> None:
    """Have incarnation 7 begin after it was given up."""
    host: Any = Host()
    history = History(lambda: 0.0)
    view = View(history, Checks(history, lambda _violation: None), cast(Any, {"host1": host}))
    view.believed.lied_of.add("host1")  # its right is no matter here
    guests = Guests(view, Rights(view, Debts(view)))
    host.page = ServerPage(incarnation=7, burnt=7)
    guests.undefined(host, SERVER)
    if journal_lost:
        host.page = ServerPage(incarnation=7)
    view.believed.ever_lost = commits_lost
    guests.changed(host, SERVER)


@pytest.mark.parametrize("journal_lost", [False, True])
@pytest.mark.parametrize("commits_lost", [False, True])
def test_what_was_given_up_begins_only_where_journal_and_commits_are_lost(
    journal_lost: bool, commits_lost: bool
) -> None:
    if journal_lost and commits_lost:
        begin(journal_lost=True, commits_lost=True)
        return
    with pytest.raises(Violation, match="released"):
        begin(journal_lost=journal_lost, commits_lost=commits_lost)
