"""Small files of the agent that are whole whatever happens: journal pages, keys, certificates."""

import os
from pathlib import Path

from renova.drivers.durable import publish, sync_file


def write_whole(path: Path, content: bytes) -> None:
    """Have the file with this content, readable by nobody else. Once it returns, no power cut takes that away.

    Until then the file is as it was. Raises `OSError` when it cannot; blocks.
    """
    partial = path.with_suffix(".new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # what a crash left may have had another mode
        file.write(content)
        sync_file(file)
    publish(partial, path)
