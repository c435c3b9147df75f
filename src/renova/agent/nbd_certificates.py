"""The host's certificate under the names by which QEMU looks for one: to reach volumes over NBD, or to serve them.

QEMU's `tls-creds-x509` takes a directory with fixed names. A copy, since whoever runs QEMU may read it and nothing
else of the agent's state: the directory's group, where it was made with the set-group-ID bit.
"""

import os
from pathlib import Path

from renova.model.errors import unusable
from renova.uplink.identity import authority_file, certificate_file, key_file


def lay_out(state_dir: Path, directory: Path) -> None:
    """Have the certificates of an enrolled host in the directory; blocks. `NotNow` or `BadSetup` if they cannot be."""
    copies = {
        "ca-cert.pem": authority_file(state_dir),
        "client-cert.pem": certificate_file(state_dir),
        "client-key.pem": key_file(state_dir),
        "server-cert.pem": certificate_file(state_dir),
        "server-key.pem": key_file(state_dir),
    }
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        for name, source in copies.items():
            new = directory / f"{name}.new"
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb") as file:
                file.write(source.read_bytes())
            new.replace(directory / name)
    except OSError as error:
        raise unusable(error, f"The certificates for NBD cannot be put into {directory} ({error.strerror}).") from error
