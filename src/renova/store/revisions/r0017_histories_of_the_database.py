"""Histories of the database"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    with op.batch_alter_table("cluster", schema=None) as batch_op:
        batch_op.add_column(sa.Column("timeline", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("synchronous", sa.Boolean(), nullable=True))
