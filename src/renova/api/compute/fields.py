"""What the fields of request bodies may hold, and how a body is read at a microversion."""

import binascii
import ipaddress
import re
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.http import Call, Version
from renova.model.errors import Invalid

T = TypeVar("T")
U = TypeVar("U")
B = TypeVar("B", bound="Body")

# Printable, and no blank at either end. \Z, for $ would let a newline pass.
_PRINTABLE = r"[^\x00-\x1f\x7f-\x9f]"
_NAME = rf"^(?!\s){_PRINTABLE}*(?<!\s)\Z"

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=_NAME)]
Description = Annotated[str, Meta(max_length=255, pattern=rf"^{_PRINTABLE}*\Z")]
HostName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9\-._]*\Z")]
Uuid = Annotated[
    str, Meta(pattern=r"^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\Z")
]
MetadataKey = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9\-_:. ]{1,255}\Z")]
MetadataValue = Annotated[str, Meta(max_length=255)]
Metadata = dict[MetadataKey, MetadataValue]
Tag = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[^,/]*\Z")]
DiskConfig = Literal["AUTO", "MANUAL"]
TrustedCerts = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=50)]
UserData = Annotated[str, Meta(max_length=65535)]
Nothing = Literal["None"] | None | dict[str, Any]
Truth = (
    bool
    | Literal[
        "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
        "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no",
    ]
)  # fmt: skip
Count = int | Annotated[str, Meta(pattern=r"^[0-9]{1,10}\Z")]

MAX_INTEGER = 0x7FFFFFFF


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request body or a part of one; fields of other microversions than the request's count as unknown."""

    SINCE: ClassVar[dict[str, Version]] = {}
    UNTIL: ClassVar[dict[str, Version]] = {}

    def demand_version(self, version: Version, path: str = "$") -> None:
        """Raise `Invalid` for a field that the request's microversion does not know."""
        for field, word in zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True):
            value = getattr(self, field)
            if value is UNSET:
                continue
            if version < self.SINCE.get(field, version) or version > self.UNTIL.get(field, version):
                raise Invalid(f"Invalid input: Object contains unknown field `{word}` - at `{path}`")
            for part in value if isinstance(value, list) else (value,):
                if isinstance(part, Body):
                    part.demand_version(version, f"{path}.{word}")


def read(call: Call, kind: type[B]) -> B:
    """Return the request's body, right in every field for the request's microversion. `Invalid` names the field."""
    body = call.json(kind)
    body.demand_version(call.version)
    return body


def given(value: T | UnsetType, otherwise: U) -> T | U:
    """Return the field's value, or the other when the request has none."""
    return otherwise if value is UNSET else value


def is_true(value: bool | str) -> bool:
    """Return what a `Truth` says."""
    return value if isinstance(value, bool) else value.lower() in ("true", "1", "on", "yes")


def truth(text: str, name: str) -> bool:
    """Return what a query parameter says. `Invalid` when it says neither."""
    if text.lower() in ("true", "1", "on", "yes", "y", "t"):
        return True
    if text.lower() in ("false", "0", "off", "no", "n", "f", ""):
        return False
    raise Invalid(f"Invalid value '{text}' for {name}: true or false is expected.")


def count(value: int | str, name: str, *, least: int = 1, most: int = MAX_INTEGER) -> int:
    """Return a `Count` within its bounds. `Invalid`."""
    number = int(value)
    if not least <= number <= most:
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {value}. It must be from {least} to {most}.")
    return number


def address(value: str, name: str, version: int | None = None) -> str:
    """Return the IP address in its usual form. `Invalid` when it is none, or of the other version."""
    try:
        found = ipaddress.ip_address(value)
    except ValueError as error:
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {value}. It is no IP address.") from error
    if version not in (None, found.version):
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {value}. It is no IPv{version} address.")
    return str(found)


def optional_address(value: str | None, name: str, version: int) -> str | None:
    """Return the address; an empty text or null takes it away."""
    return address(value, name, version) if value else None


def base64(value: str, name: str) -> str:
    """Return the text, which is base64. `Invalid`."""
    try:
        binascii.a2b_base64(value.encode("ascii"), strict_mode=False)
        if len("".join(value.split())) % 4:
            raise ValueError("incomplete")
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"Invalid input for field/attribute {name}. It is not base64.") from error
    return value


def trusted_certs(value: list[str] | UnsetType | None) -> tuple[str, ...] | UnsetType | None:
    """Return the certificates' ids. `Invalid` when one comes twice."""
    if not isinstance(value, list):
        return value
    if len(set(value)) < len(value):
        raise Invalid("Invalid input for field/attribute trusted_image_certificates. Its ids must differ.")
    return tuple(value)


def canonical(uuid: str) -> str:
    """Return a `Uuid` in the form in which ids are stored."""
    digits = uuid.replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_uuid(text: str) -> bool:
    return re.fullmatch(r"(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", text) is not None
