"""Guests on their hosts: where they execute, and what hosts do to them and write of them in their journals.

One host at most executes a server (one_run), with the right to (`rights`); a host does one thing at a time to a guest
(one_step), of no incarnation that is old or given up (stale_step, released); its journal never goes back (monotone).
"""

from renova.agent.journal import ServerPage
from renova.model.guest import Guest
from renova.model.ids import ServerId
from renova.simulation.hosts import SimulatedHost
from renova.simulation.invariants.rights import Rights
from renova.simulation.invariants.view import View


class Guests:
    """Told by a witness on each host."""

    def __init__(self, view: View, rights: Rights) -> None:
        self._view = view
        self._rights = rights
        self._pages: dict[tuple[str, str, ServerId], ServerPage] = {}
        self._given_up: dict[tuple[str, ServerId], int] = {}  # by a host's name and server: the highest incarnation

    def executing(self, server: ServerId) -> list[tuple[str, int]]:
        """Return the hosts on which the server executes now, with the incarnation of each guest."""
        found = []
        for name, host in self._view.hosts.items():
            number = host.hypervisor.executes(server)
            if number is not None:
                found.append((name, number))
        return found

    def changed(self, host: SimulatedHost, server: ServerId) -> None:
        """Check a guest that has begun to execute, or has ended."""
        view = self._view
        number = host.hypervisor.executes(server)
        view.history.note(host.name, "guest runs" if number else "guest runs no more", server=server, inc=number)
        if number is None:
            return
        running = [each for each in self.executing(server) if not view.just_woken(each[0])]
        if not view.believed.lied_of.intersection(name for name, _ in running):
            view.checks.demand(len(running) <= 1, "one_run", f"{{}} executes on {_said(running)}", server)
        given_up = self._given_up.get((host.name, server), 0)
        # By the host with its journal, and by the database with its commits: then nobody can know.
        forgotten = view.believed.ever_lost and host.journal.page(server).burnt < given_up
        view.checks.demand(
            number > given_up or forgotten,
            "released",
            f"{{}}, incarnation {number}, begins on {host.name} after {given_up} was given up there",
            server,
        )
        self._rights.check(host, server, number)

    def granted(self, server: ServerId) -> None:
        """Check that whoever executes the server now has the right to."""
        for name, number in self.executing(server):
            self._rights.check(self._view.hosts[name], server, number)

    def begun(self, host: SimulatedHost, call: str, server: ServerId, guest: Guest | None, running: list[str]) -> None:
        """Check what the host begins to do to a guest, beside the calls that run already."""
        self._view.checks.demand(
            not running, "one_step", f"{call} of {{}} begins on {host.name} while {', '.join(running)} runs", server
        )
        if guest is None:
            return
        page = host.journal.page(server)
        self._view.checks.demand(
            guest.incarnation == page.incarnation and guest.incarnation > page.burnt,
            "stale_step",
            f"{call} of {{}}, incarnation {guest.incarnation}, on {host.name}, whose journal has {page.incarnation}, "
            f"and {page.burnt} given up",
            server,
        )

    def undefined(self, host: SimulatedHost, server: ServerId) -> None:
        """Note what the host has given up: burnt in its journal, and now gone.

        Not when it is burnt: a start that libvirt was asked for before may still come to its end until then.
        """
        self._given_up[host.name, server] = host.journal.page(server).burnt

    def page_written(self, host: SimulatedHost, journal: str, server: ServerId, page: ServerPage) -> None:
        """Check that what a host has on its disk only rises, for as long as it is the same journal."""
        before = self._pages.get((host.name, journal, server))
        self._pages[host.name, journal, server] = page
        if before is None:
            return
        lower = (page.era, page.incarnation, page.burnt) < (before.era, before.incarnation, before.burnt)
        self._view.checks.demand(
            not lower and page.incarnation >= before.incarnation and page.burnt >= before.burnt,
            "monotone",
            f"the journal of {host.name} goes back for {{}}: from {_page(before)} to {_page(page)}",
            server,
        )


def _said(running: list[tuple[str, int]]) -> str:
    return " and ".join(f"{name} (incarnation {number})" for name, number in running)


def _page(page: ServerPage) -> str:
    return f"era {page.era}, incarnation {page.incarnation}, given up {page.burnt}"
