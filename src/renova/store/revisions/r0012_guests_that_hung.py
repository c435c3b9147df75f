"""Guests that hung"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    with op.batch_alter_table("restarts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("hung", sa.Boolean(), server_default=sa.false(), nullable=False))
