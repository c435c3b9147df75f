"""The brake"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("cluster", schema=None) as batch_op:
        batch_op.add_column(sa.Column("brake", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("braked_at", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("brake_lifted_until", sa.Text(), nullable=True))

    with op.batch_alter_table("hosts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("condemned_at", sa.Text(), nullable=True))
