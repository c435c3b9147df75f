"""What the machine refuses a command, in a sentence that says what helps."""

import errno
import os

# Somebody has to change something first; or only to make room, and then the same will work.
SET_UP, LATER = 2, 1

_HELPS = {
    errno.EACCES: (SET_UP, "Run this as root, or as who may use it, or name another place in the settings."),
    errno.EPERM: (SET_UP, "Run this as root, or as who may use it, or name another place in the settings."),
    errno.ENOENT: (SET_UP, "Install or make what is missing, or name another place in the settings."),
    errno.ENOTDIR: (
        SET_UP,
        "Remove the file that is in the way of a directory, or name another place in the settings.",
    ),
    errno.EEXIST: (SET_UP, "Remove what is in the way, or name another place in the settings."),
    errno.EISDIR: (SET_UP, "Remove the directory that is in the way of a file, or name another place in the settings."),
    errno.EROFS: (LATER, "Mount it writable, or name another place in the settings."),
    errno.ENOSPC: (LATER, "Make room there, or name another place in the settings."),
    errno.EDQUOT: (LATER, "Make room there, or name another place in the settings."),
}


def in_a_sentence(error: OSError) -> tuple[str, int] | None:
    """Return what to say of it, and the exit status; None where nobody knows what helps, and it may be a bug."""
    if error.errno not in _HELPS:
        return None
    status, helps = _HELPS[error.errno]
    why = os.strerror(error.errno)
    return f"{error.filename}: {why}. {helps}" if error.filename is not None else f"{why}. {helps}", status
