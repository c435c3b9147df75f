"""Files that users have put into their servers (personality, below 2.57): kept for as long as the server's disks are.

A table of their own: hardly a server has any, and no list shows them.
"""

from sqlalchemy import Column, String, Table, bindparam, delete, insert, select

from renova.model.guest import PersonalFile
from renova.model.ids import ServerId
from renova.store.database import Tx
from renova.store.schema import Document, metadata

personal_files = Table(
    "personal_files",
    metadata,
    Column("server", String(36), primary_key=True),
    Column("files", Document(tuple[PersonalFile, ...]), nullable=False),
)

# Made once: making a statement costs five times as much as running it.
_OF = select(personal_files.c.files).where(personal_files.c.server == bindparam("wanted"))
_DROP = delete(personal_files).where(personal_files.c.server == bindparam("wanted"))


def of_server(tx: Tx, server: ServerId) -> tuple[PersonalFile, ...]:
    row = tx.execute(_OF, {"wanted": server}).first()
    return row[0] if row else ()


def put(tx: Tx, server: ServerId, files: tuple[PersonalFile, ...]) -> None:
    """Have these be the server's files, instead of what it had."""
    tx.execute(_DROP, {"wanted": server})
    if files:
        tx.execute(insert(personal_files), {"server": server, "files": files})
