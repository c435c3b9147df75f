"""The system UUID of a lab host: its machine's own, as firmware and BMC tell it. Made once, and kept for good."""

import os
import tempfile
import uuid
from pathlib import Path

from renova.lab.home import HostHome


def system_uuid(directories: HostHome) -> str:
    """Return the host's; whoever asks first makes it."""
    file = directories.host_uuid
    if not file.exists():
        directories.path.mkdir(parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(prefix=file.name, dir=directories.path)
        with os.fdopen(descriptor, "w") as writing:
            writing.write(f"{uuid.uuid4()}\n")
        try:
            os.link(new, file)
        except FileExistsError:
            pass  # somebody else asked at the same time
        finally:
            Path(new).unlink()
    return file.read_text().strip()
