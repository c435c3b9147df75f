"""Who this host is to its controllers: what enrolment left in the agent's state directory.

key.pem     the host's private key, made here; it never leaves the host
host.pem    the host's certificate
ca.pem      the authority that signs controllers and hosts
host.json   the host's id, its name, and where the controllers are; written last, so it means all is there
"""

from pathlib import Path

import msgspec

from renova.durable import DAMAGED
from renova.model.errors import BadSetup, unusable
from renova.model.ids import HostId


class Identity(msgspec.Struct, frozen=True):
    """The host as it was enrolled."""

    host: HostId
    name: str
    controllers: tuple[str, ...]  # host:port


def check_name(identity: Identity, name: str) -> None:
    """Raise `BadSetup` when the machine has another name than the host that was enrolled.

    It may have been renamed, or be a copy of another machine: either way nothing may be done in the host's name.
    """
    if name != identity.name:
        raise BadSetup(
            f"This host is enrolled as {identity.name}, and now calls itself {name}. Hosts are not renamed: set "
            f"RENOVA_NAME={identity.name}; or evacuate it, delete its compute service, and enrol it anew from an empty "
            "state directory."
        )


def key_file(state_dir: Path) -> Path:
    return state_dir / "key.pem"


def certificate_file(state_dir: Path) -> Path:
    return state_dir / "host.pem"


def authority_file(state_dir: Path) -> Path:
    return state_dir / "ca.pem"


def identity_file(state_dir: Path) -> Path:
    return state_dir / "host.json"


def read_identity(state_dir: Path) -> Identity | None:
    """Return the identity of an enrolled host, None if it is not enrolled yet.

    `BadSetup` if some of it is lost, `NotNow` while it cannot be read.
    """
    path = identity_file(state_dir)
    try:
        identity = msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(error, f"The host's identity {path} cannot be read ({error.strerror}).") from error
    except DAMAGED as error:
        raise BadSetup(f"The host's identity {path} is damaged. Remove {state_dir} and enrol the host anew.") from error
    for file in (key_file(state_dir), certificate_file(state_dir), authority_file(state_dir)):
        if not file.exists():
            raise BadSetup(f"{file} is missing. Restore it, or remove {state_dir} and enrol the host anew.")
    return identity
