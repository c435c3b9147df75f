"""The checks of one run: each is counted, and the first that fails ends the run with `Violation`."""

from collections.abc import Callable

from renova.simulation.history import History


class Violation(Exception):
    """An invariant does not hold: a bug, unless an assumption was broken on purpose."""

    def __init__(self, invariant: str, account: str) -> None:
        super().__init__(f"{invariant}: {account}")
        self.invariant = invariant


class Checks:
    """Makes them; `broken` is told of each violation, for whoever runs into one may be any task, and may swallow it."""

    def __init__(self, history: History, broken: Callable[[Violation], None]) -> None:
        self._history = history
        self._broken = broken
        self.made = 0

    def fail(self, invariant: str, account: str) -> None:
        """Note the violation, and raise it where it was found."""
        violation = Violation(invariant, account)
        self._history.note("INVARIANT", f"{invariant} broken: {account}")
        self._broken(violation)
        raise violation

    def demand(self, true: bool, invariant: str, account: str, *about: str) -> None:
        """Fail with this account unless it is true; the names of what it is `about` fill the account's braces."""
        self.made += 1
        if not true:
            self.fail(invariant, account.format(*(self._history.name(each) for each in about)))
