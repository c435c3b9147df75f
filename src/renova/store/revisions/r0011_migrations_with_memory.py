"""Migrations in which guests go on with their memory: what is wanted of them, and how far they are"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Number

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with op.batch_alter_table("migrations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("wish", sa.String(length=16), nullable=True))
        for name in ("memory_total", "memory_processed", "memory_remaining"):
            batch_op.add_column(sa.Column(name, Number, nullable=True))
