"""Fields of Placement's bodies and paths: names, ids and amounts, in the forms it takes."""

import re
from typing import Annotated
from uuid import UUID

import msgspec

from renova.model.errors import Invalid
from renova.model.provider import MOST
from renova.store.providers import CUSTOM

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Holder = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]  # a project or user

_CUSTOM = re.compile(rf"{CUSTOM}[A-Z0-9_]+")
_CLASS = re.compile(r"[A-Z0-9_]+")
LONGEST = 255


class Body(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request's body; what is not in it is not taken."""


def uuid(text: str, what: str) -> str:
    """Return the UUID as Placement writes it; it takes it without dashes, too."""
    try:
        return str(UUID(text))
    except ValueError:
        raise Invalid(f"{what} is expected to be a UUID, not {text!r}.") from None


def custom_name(text: str, what: str) -> str:
    if not _CUSTOM.fullmatch(text) or len(text) > LONGEST:
        raise Invalid(
            f"The {what} {text!r} is not a custom one: expected CUSTOM_ and then capital letters, digits and "
            f"underscores, {LONGEST} characters in all at most."
        )
    return text


def class_name(text: str) -> str:
    if not _CLASS.fullmatch(text) or len(text) > LONGEST:
        raise Invalid(f"{text!r} is no name of a resource class: expected capital letters, digits and underscores.")
    return text
