"""By which file in the witness a host's guard may go, and which lease was revoked that is yet to be shown there"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Number

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("witness", sa.String(length=64), server_default="", nullable=False))
        batch_op.add_column(sa.Column("revoked", Number, server_default="0", nullable=False))
