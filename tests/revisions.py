"""Writes the next revision of the tables: what the modules say is compared with what the revisions make."""

import re
import sys
from typing import Any, Literal

from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext
from sqlalchemy import BigInteger, Connection

import renova.store.everything  # noqa: F401  for the tables of all modules
from renova.store.schema import Document, metadata
from renova.store.sqlite import sqlite_engine
from renova.store.upgrade import REVISIONS, known, run_revisions, schema_revision

FILE = '''"""{text}"""

import sqlalchemy as sa
from alembic import op
{imports}
revision = "{revision}"
down_revision = {before}


def upgrade() -> None:
    {upgrade}
'''


def _context(connection: Connection) -> MigrationContext:
    options = {"version_table": schema_revision.name, "render_as_batch": True, "compare_type": True}
    return MigrationContext.configure(connection, opts=options | {"render_item": _render, "user_module_prefix": None})


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    if kind == "type" and isinstance(item, Document):
        return "sa.Text()"
    if kind == "type" and isinstance(item, BigInteger):
        return "Number"
    return False


def differences(connection: Connection) -> list[Any]:
    """List what is otherwise in the database than the modules say."""
    return list(compare_metadata(_context(connection), metadata))


def write(text: str) -> str:
    """Write the next revision, and return its file's name."""
    with sqlite_engine(None).connect() as connection:
        if known():
            run_revisions(connection, known()[-1])
        changes = produce_migrations(_context(connection), metadata)
    assert changes.upgrade_ops is not None
    if changes.upgrade_ops.is_empty():
        raise SystemExit("The tables are as the newest revision makes them.")
    code = render_python_code(changes.upgrade_ops, render_as_batch=True, render_item=_render)
    # Alembic's marks and indents are for its own template.
    code = re.sub(r"\n? *# ### .*\n?", "\n", code).strip()
    before = f'"{known()[-1]}"' if known() else None
    revision = f"{int(known()[-1]) + 1 if known() else 1:04}"
    imports = "\nfrom renova.store.schema import Number\n" if "Number" in code else ""
    file = REVISIONS / f"r{revision}_{re.sub(r'[^a-z0-9]+', '_', text.lower()).strip('_')}.py"
    file.write_text(FILE.format(text=text, imports=imports, revision=revision, before=before, upgrade=code))
    return str(file)


if __name__ == "__main__":
    print(write(" ".join(sys.argv[1:]) or "Change the tables"))  # noqa: T201
