"""A volume's status, in Cinder's words: what its attachments make of it, and what a failure does.

Arithmetic; asked inside transactions by `settling` and `builtin`.
"""

from collections.abc import Sequence

from renova.store.volume_attachments import StoredAttachment

# Those that follow from the attachments alone.
RESTING = ("available", "reserved", "attaching", "in-use", "detaching")
# What a status becomes when the volume's or snapshot's host refuses what it stands for. Others are tried again.
ERRORS = {
    "creating": "error",
    "downloading": "error",
    "extending": "error_extending",
    "deleting": "error_deleting",
}


def of_attachments(left: Sequence[StoredAttachment], now: str) -> str:
    """Return the status of a volume with these attachments, that is `now` in another."""
    known = {each.status for each in left if not each.gone}
    if any(each.gone for each in left):
        return "detaching"
    if "attached" in known:
        return "detaching" if now == "detaching" else "in-use"
    if "attaching" in known:
        return "attaching"
    return "reserved" if known else "available"
