"""Errors raised on purpose, named by what the reader should do next.

Two edges translate them: `api.dispatch` to HTTP codes, `engine.telling` to retry, undo or stop.
A message says its own layer's part, and what to do; the cause stays in the exception chain. Whoever asked may read it,
and users are not told where things are: a host's name or address, and what a program said, are `details`.
"""

import errno


class CloudError(Exception):
    """What this code raises on purpose; `details` are for operators only, and stand in logs and tracebacks."""

    def __init__(self, message: str = "", *, details: str = "") -> None:
        super().__init__(message)
        self.details = details
        if details:
            self.add_note(details)


def details_of(error: BaseException | None) -> str:
    """Return what the error and those that caused it have to say to operators only, the last first."""
    found: list[str] = []
    while error is not None:
        if isinstance(error, CloudError) and error.details and error.details not in found:
            found.append(error.details)
        error = error.__cause__
    return "; ".join(found)


def whole(error: BaseException) -> str:
    """Return the message with its details, for operators and logs."""
    return with_details(str(error) or type(error).__name__, details_of(error))


def with_details(message: str, details: str) -> str:
    """Return a message for operators, which whoever asked reads without its details."""
    return f"{message} ({details})" if details else message


class Refused(CloudError):
    """The caller asked for what cannot be; asking again will not help. Nothing was changed."""


class Invalid(Refused):
    """The request itself is wrong (HTTP 400)."""


class Forbidden(Refused):
    """The caller may not do this (HTTP 403)."""


class NotFound(Refused):
    """There is no such thing, or it is not the caller's to see (HTTP 404)."""


class Conflict(Refused):
    """The thing is in a state, or held by another operation, that forbids this now (HTTP 409)."""


class Stale(Refused):
    """Something newer is known: whoever asked for this is no longer in charge of it. Nothing was done for it."""


class NotNow(CloudError):
    """Something this code needs is away; the same request may work later."""


class DatabaseAway(NotNow):
    """The database does not serve, or did not say whether it committed. Nothing is given up for that: it comes back."""


class StorageAway(NotNow):
    """The host that holds a volume does not answer: what needs it may work once that is back."""


class OnHold(NotNow):
    """The cluster is on hold: the database has lost commits, and not all hosts have been accounted for yet."""


class Broken(CloudError):
    """A promise between two parts of this code did not hold: a bug."""


class BadSetup(CloudError):
    """The machine or the configuration is not as needed; the message says what to do. Exit status 2: nobody tries
    again before it has been done."""


# What the system says to a wrong setting, and will say for as long as nobody changes anything.
_LASTING = {
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP, errno.EOPNOTSUPP),
}


def unusable(error: OSError, says: str) -> BadSetup | NotNow:
    """Return what it means to a process that begins that something of its machine cannot be used.

    Storage that is full, away or read-only and a network that is not there yet may pass: `NotNow`. `BadSetup` is for
    what only a change of settings mends.
    """
    return BadSetup(says) if error.errno in _LASTING else NotNow(says)
