"""Segments of hosts, and alarms about them"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Number

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("segment", sa.String(length=36), nullable=False),
        sa.Column("segment_host", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("host_name", sa.String(length=255), nullable=False),
        sa.Column("generated_at", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("epoch", Number, nullable=False),
        sa.Column("counter", Number, nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("proof", Number, nullable=True),
        sa.Column("who", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uuid"),
    )
    with op.batch_alter_table("alarms", schema=None) as batch_op:
        batch_op.create_index(
            "alarms_open",
            ["id"],
            unique=False,
            sqlite_where=sa.text("status in ('new', 'running', 'error')"),
            postgresql_where=sa.text("status in ('new', 'running', 'error')"),
        )

    op.create_table(
        "segments",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("recovery_method", sa.String(length=16), nullable=False),
        sa.Column("service_type", sa.String(length=255), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("uuid"),
    )
    op.create_table(
        "segment_hosts",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("segment", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=255), nullable=True),
        sa.Column("control_attributes", sa.Text(), nullable=True),
        sa.Column("reserved", sa.Boolean(), nullable=False),
        sa.Column("on_maintenance", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["segment"],
            ["segments.uuid"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("uuid"),
    )
    with op.batch_alter_table("segment_hosts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_segment_hosts_segment"), ["segment"], unique=False)
