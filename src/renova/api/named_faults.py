"""Errors as Nova and Cinder answer them: by a name for each status."""

from renova.api.http import Reply

_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def error(status: int, message: str, request_id: str) -> Reply:
    """Answer as Nova and Cinder do."""
    return Reply(status, {_NAMES.get(status, "computeFault"): {"code": status, "message": message}})
