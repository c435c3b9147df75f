"""Guests that crashed"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Number

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "restarts",
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("crashes", Number, nullable=False),
        sa.Column("crashed_at", sa.Text(), nullable=False),
        sa.Column("number", Number, nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("server"),
    )
    with op.batch_alter_table("restarts", schema=None) as batch_op:
        batch_op.create_index(
            "restarts_pending",
            ["crashed_at"],
            unique=False,
            sqlite_where=sa.text("pending"),
            postgresql_where=sa.text("pending"),
        )
