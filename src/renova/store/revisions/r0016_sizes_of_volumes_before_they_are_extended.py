"""Sizes of volumes before they are extended"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Number

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    with op.batch_alter_table("volumes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("former_size_gb", Number, nullable=True))
