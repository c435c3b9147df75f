"""Living servers and open events are found however many there were before"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            "events_open",
            ["action"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )

    with op.batch_alter_table("servers", schema=None) as batch_op:
        batch_op.create_index(
            "servers_living",
            ["created_at", "serial"],
            unique=False,
            sqlite_where=sa.text("deleted IS 0"),
            postgresql_where=sa.text("deleted IS false"),
        )
        batch_op.create_index(
            "servers_living_in_order",
            ["serial"],
            unique=False,
            sqlite_where=sa.text("deleted IS 0"),
            postgresql_where=sa.text("deleted IS false"),
        )
        batch_op.create_index(
            "servers_of_project",
            ["project", "deleted", "created_at", "serial"],
            unique=False,
        )
