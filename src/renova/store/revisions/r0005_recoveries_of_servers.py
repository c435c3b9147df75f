"""Recoveries of servers"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Number

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "recoveries",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("host_name", sa.String(length=255), nullable=False),
        sa.Column("proof", Number, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("place", Number, nullable=False),
        sa.Column("priority", Number, nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("target", sa.String(length=255), nullable=True),
        sa.Column("reached", sa.String(length=255), nullable=True),
        sa.Column("disks", sa.String(length=8), nullable=True),
        sa.Column("attempts", Number, nullable=False),
        sa.Column("migration", Number, nullable=True),
        sa.Column("detect_s", sa.Float(), nullable=True),
        sa.Column("prove_s", sa.Float(), nullable=True),
        sa.Column("proven_at", sa.Text(), nullable=False),
        sa.Column("planned_at", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("again_at", sa.Text(), nullable=True),
        sa.Column("predicted_begun_s", sa.Float(), nullable=True),
        sa.Column("predicted_up_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("server", "proof", name="one_recovery_a_proof"),
    )
    with op.batch_alter_table("recoveries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_recoveries_host"), ["host"], unique=False)
        batch_op.create_index(
            "recoveries_unsettled",
            ["place"],
            unique=False,
            sqlite_where=sa.text("state in ('waiting', 'moving', 'failed', 'left')"),
            postgresql_where=sa.text("state in ('waiting', 'moving', 'failed', 'left')"),
        )
