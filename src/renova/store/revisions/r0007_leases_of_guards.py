"""Whether a lease is that of a host which has yet to come back to its place"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("returns", sa.Boolean(), server_default=sa.false(), nullable=False))
