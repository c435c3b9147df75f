"""Hosts that are being emptied"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "drains",
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("who", sa.String(length=255), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("began_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("host"),
    )
