"""Generations of disks"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Number

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table, column in (("found_guests", "generation"), ("servers", "burnt_generation")):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column(column, Number, server_default="0", nullable=False))
