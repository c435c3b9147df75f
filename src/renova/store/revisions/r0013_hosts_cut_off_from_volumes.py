"""Hosts that storage cuts off from volumes"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cut", sa.Boolean(), server_default=sa.false(), nullable=False))
